//! What is found in a pack that is walked.

use super::*;
use crate::backend::local::tests::bytes_read;

#[test]
fn a_walk_ends_at_a_torn_tail_and_passes_over_holes() {
    let fixture = Fixture::new(PackOptions::default());
    // What looks like frames to whoever takes it for a place in a pack.
    fixture
        .packs
        .append(blob(1), 0, &content(1, 500), 100)
        .unwrap();
    let copy = fs::read(fixture.path(0)).unwrap();
    fixture.packs.append(blob(2), 0, &copy, 4000).unwrap();
    fixture
        .packs
        .append(
            blob(3),
            0,
            &[super::frame::FRAME_MAGIC; 50_000].concat(),
            1 << 20,
        )
        .unwrap();
    fixture
        .packs
        .append(blob(4), 0, &content(4, 200), 100)
        .unwrap();
    let all = fixture.walked(0);
    assert_eq!(all.len(), 5 + 1 + 1 + 2);
    let sound = fs::read(fixture.path(0)).unwrap();
    let place = |number: usize| usize::try_from(all[number].2.offset).unwrap();

    for cut in [
        place(8) - 1,
        place(8),
        place(8) + 1,
        place(8) + 40,
        sound.len() - 1,
    ] {
        fs::write(fixture.path(0), &sound[..cut]).unwrap();
        let whole = if cut < place(8) { 7 } else { 8 };
        assert_eq!(fixture.walked(0), all[..whole], "cut at {cut}");
    }
    // Never written: the header alone, a frame, several, and one that begins a little later.
    for (from, to, lost) in [(5, 6, 5..6), (1, 4, 1..4), (6, 7, 6..7), (0, 9, 0..9)] {
        let mut bytes = sound.clone();
        let end = if to == 9 { sound.len() } else { place(to) };
        bytes[place(from)..end].fill(0);
        fs::write(fixture.path(0), &bytes).unwrap();
        let expected: Vec<_> = all
            .iter()
            .enumerate()
            .filter(|(number, _)| !lost.contains(number))
            .map(|(_, frame)| *frame)
            .collect();
        assert_eq!(fixture.walked(0), expected);
    }
    // Their headers lost, the copy of a pack and the rows of magic lie open, and are still no frames.
    for number in [5, 6] {
        let mut bytes = sound.clone();
        bytes[place(number)] ^= 1;
        fs::write(fixture.path(0), &bytes).unwrap();
        let mut expected = all.clone();
        expected.remove(number);
        let before = bytes_read();
        assert_eq!(fixture.walked(0), expected);
        let read = usize::try_from(bytes_read() - before).unwrap();
        assert!(read < 50_000 * 50 + 3 * sound.len(), "{read} bytes read");
    }
}

#[test]
fn a_magic_across_two_windows_is_found() {
    let fixture = Fixture::new(PackOptions::default());
    // The search begins one byte behind the broken header: the next magic lies around the end of the first window.
    for hole in 65_492..65_499 {
        let locations = fixture
            .packs
            .append(blob(1), 0, &content(1, hole), 1 << 20)
            .unwrap();
        let next = fixture.packs.append(blob(2), 0, b"behind", 100).unwrap();
        let pack = locations[0].pack;
        let sound = fs::read(fixture.path(pack)).unwrap();
        let offset = usize::try_from(locations[0].offset).unwrap();
        let mut bytes = sound.clone();
        bytes[offset] ^= 1;
        fs::write(fixture.path(pack), &bytes).unwrap();
        let found = fixture.walked(pack);
        assert!(found.iter().any(|(_, _, location)| *location == next[0]));
        assert!(
            !found
                .iter()
                .any(|(_, _, location)| *location == locations[0])
        );
        fs::write(fixture.path(pack), &sound).unwrap();
    }
}

#[test]
fn a_write_that_never_happened_is_told_from_damage() {
    let looks_unwritten = |mend: &dyn Fn(&mut Vec<u8>)| {
        let fixture = Fixture::new(SMALL);
        let content = content(1, 5_000);
        let location = fixture.packs.append(blob(1), 0, &content, 5_000).unwrap()[0];
        let mut file = fs::read(fixture.path(0)).unwrap();
        mend(&mut file);
        fs::write(fixture.path(0), file).unwrap();
        assert!(is_damaged(fixture.packs.read(blob(1), 0, &location)));
        fixture.packs.looks_unwritten(&location).unwrap()
    };
    assert!(looks_unwritten(&|file| file.truncate(3_000)));
    assert!(looks_unwritten(&|file| file[1024..1536].fill(0)));
    assert!(looks_unwritten(&|file| file[32..512].fill(0)));
    assert!(!looks_unwritten(&|file| file[2_000] ^= 1));
    assert!(!looks_unwritten(&|file| file[1024..1536].fill(7)));
    assert!(!looks_unwritten(&|file| file[1100..1500].fill(0)));
}
