use super::*;

const SEED: Seed = Seed(0);

fn image<'a>(changes: &'a [Bytes], rows: &'a [RowWrite]) -> CommitImage<'a> {
    CommitImage {
        seed: SEED,
        unsynced_chunks: false,
        gap: false,
        revision: 7,
        synced: 6,
        time: 5,
        totals: Totals {
            digest: 1,
            entries: 2,
            tokens: 3,
            row_bytes: 4,
            chunk_bytes: 5,
        },
        changes,
        rows,
    }
}

fn put(key: &str, value: &[u8]) -> RowWrite {
    RowWrite {
        tree: Tree::Entries,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(Bytes::copy_from_slice(value)),
    }
}

fn read_chain(mut bytes: &[u8]) -> (Vec<Header>, Vec<Bytes>, Vec<RowWrite>) {
    let (mut headers, mut changes, mut rows) = (vec![], vec![], vec![]);
    while !bytes.is_empty() {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk().unwrap();
        let header = Header::decode(head).unwrap();
        let payload = Bytes::copy_from_slice(&bytes[HEADER_BYTES..HEADER_BYTES + header.length]);
        assert!(header.matches(SEED, head, &payload));
        changes.extend(header.changes(&payload).unwrap());
        rows.extend(header.rows(&payload).unwrap());
        bytes = &bytes[HEADER_BYTES + header.length..];
        headers.push(header);
    }
    (headers, changes, rows)
}

#[test]
fn revisions_that_no_store_comes_to_are_not_ours() {
    let header = |revision, synced| {
        let mut bytes = Vec::new();
        let image = CommitImage {
            revision,
            synced,
            ..image(&[], &[])
        };
        image.encode(&mut bytes);
        Header::decode(bytes.first_chunk().unwrap())
    };
    assert!(header(MAX_REVISION, MAX_REVISION).is_some());
    assert!(header(MAX_REVISION + 1, 0).is_none());
    assert!(header(1, u64::MAX).is_none());
}

/// The bytes in the journal: a change here is a change of the format.
#[test]
fn golden_bytes() {
    let mut out = Vec::new();
    let rows = [
        put("k", b"v"),
        RowWrite {
            tree: Tree::Pending,
            key: Bytes::from_static(b"x"),
            value: None,
        },
    ];
    image(&[Bytes::from_static(b"c")], &rows).encode(&mut out);
    let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        concat!(
            "4b46524d",
            "f71f4069",
            "00000016",
            "80000000",
            "0000000000000007",
            "0000000000000006",
            "0000000000000005",
            "00000001",
            "00000002",
            "00000000000000000000000000000001",
            "0000000000000002",
            "0000000000000003",
            "0000000000000004",
            "0000000000000005",
            "0000000163",
            "000001000000016b76",
            "040001ffffffff78"
        )
    );
}

#[test]
fn golden_seed() {
    assert_eq!(Seed::of(b"0123456789abcdef").0, 0x68c4_f033);
}

#[test]
fn a_commit_follows_the_one_before_or_says_which_that_is() {
    let header = |gap, revision, synced| {
        let mut out = Vec::new();
        let image = CommitImage {
            gap,
            revision,
            synced,
            ..image(&[], &[])
        };
        image.encode(&mut out);
        read_chain(&out).0[0]
    };
    assert!(header(false, 7, 5).follows(6));
    assert!(!header(false, 7, 5).follows(5));
    assert!(header(true, 900, 5).follows(5));
    assert!(!header(true, 900, 5).follows(899));
    assert!(!header(true, 5, 5).follows(5));
}

#[test]
fn a_large_commit_is_a_chain_of_small_frames() {
    let rows: Vec<RowWrite> = (0..600)
        .map(|n| put(&format!("{n}"), &[1; 5_000]))
        .collect();
    let changes = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let mut out = Vec::new();
    image(&changes, &rows).encode(&mut out);
    let (headers, read_changes, read_rows) = read_chain(&out);
    assert_eq!(headers.len(), 3);
    assert_eq!(
        headers.iter().map(|h| (h.part, h.last)).collect::<Vec<_>>(),
        [(0, false), (1, false), (2, true)]
    );
    assert!(headers.iter().all(|h| h.length <= MAX_PAYLOAD_BYTES));
    assert_eq!((read_changes, read_rows), (changes, rows));
}

#[test]
fn no_flipped_byte_goes_unseen_and_none_panics() {
    let mut out = Vec::new();
    image(&[Bytes::from_static(b"c")], &[put("k", b"v")]).encode(&mut out);
    for at in 0..out.len() {
        let mut flipped = out.clone();
        flipped[at] ^= 0x40;
        let head: &[u8; HEADER_BYTES] = flipped.first_chunk().unwrap();
        let Some(header) = Header::decode(head) else {
            continue;
        };
        let payload = Bytes::copy_from_slice(&flipped[HEADER_BYTES..]);
        assert!(
            !header.matches(SEED, head, &payload) || header.length != payload.len(),
            "byte {at}"
        );
        let _ = (header.changes(&payload), header.rows(&payload));
    }
}
