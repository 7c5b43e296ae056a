use super::*;

const TREE: Tree = Tree::Entries;

fn version(revision: u64) -> Version {
    Version {
        revision,
        value: Some(Bytes::from(revision.to_string())),
    }
}

fn empty() -> Overlay {
    Overlay::new(0, 1024)
}

fn overlay(revisions: &[u64]) -> Overlay {
    let mut overlay = empty();
    for revision in revisions {
        overlay.insert(TREE, Bytes::from_static(b"k"), version(*revision));
    }
    overlay
}

#[test]
fn each_moment_has_its_version() {
    let overlay = overlay(&[3, 5, 9]);
    assert_eq!(overlay.get(TREE, b"k", 2), Known::InTrees);
    assert_eq!(overlay.get(TREE, b"k", 3), Known::Version(version(3)));
    assert_eq!(overlay.get(TREE, b"k", 8), Known::Version(version(5)));
    assert_eq!(
        overlay.get(TREE, b"k", u64::MAX),
        Known::Version(version(9))
    );
    assert_eq!(overlay.get(Tree::Meta, b"k", 9), Known::InTrees);
}

#[test]
fn a_checkpoint_empties_it() {
    let mut overlay = overlay(&[3, 5]);
    assert_eq!(
        overlay.written(4),
        [(TREE, Bytes::from_static(b"k"), version(3))]
    );
    overlay.drop_applied(4);
    assert_eq!(overlay.written(4), []);
    assert_eq!(overlay.get(TREE, b"k", 4), Known::InTrees);
    assert_eq!(overlay.get(TREE, b"k", 5), Known::Version(version(5)));
    overlay.drop_applied(5);
    assert_eq!(overlay.get(TREE, b"k", 5), Known::InTrees);
    assert_eq!(overlay.fresh_bytes(), 0);
}

#[test]
fn an_open_scan_keeps_its_moment_over_checkpoints() {
    let mut overlay = overlay(&[5]);
    let pin = overlay.pin(4);
    assert!(overlay.needs_base(TREE, b"k"));
    overlay.keep_base(TREE, b"k", version(2));
    assert!(!overlay.needs_base(TREE, b"k"));
    overlay.drop_applied(5);
    assert_eq!(overlay.get(TREE, b"k", 4), Known::Version(version(2)));
    // The newest stays as well: the older one must not be taken for the present.
    assert_eq!(overlay.get(TREE, b"k", 5), Known::Version(version(5)));
    overlay.unpin(pin);
    overlay.drop_applied(5);
    assert_eq!(overlay.get(TREE, b"k", 5), Known::InTrees);
}

#[test]
fn a_scan_between_two_versions_keeps_the_one_it_sees() {
    let mut overlay = overlay(&[3, 5, 9]);
    overlay.pin(6);
    overlay.drop_applied(9);
    assert_eq!(overlay.get(TREE, b"k", 6), Known::Version(version(5)));
    assert_eq!(overlay.get(TREE, b"k", 4), Known::InTrees);
}

#[test]
fn a_scan_of_the_moment_at_which_others_expired_is_its_own() {
    let mut overlay = overlay(&[1]);
    let old = overlay.pin(0);
    overlay.insert(
        TREE,
        Bytes::from_static(b"k"),
        Version {
            revision: 2,
            value: Some(Bytes::from(vec![0; 4096])),
        },
    );
    overlay.drop_applied(2);
    assert!(!overlay.has_expired(old));
    overlay.drop_applied(2);
    assert!(overlay.has_expired(old));
    let new = overlay.pin(2);
    overlay.unpin(old);
    assert!(!overlay.has_expired(new));
    assert_eq!(overlay.oldest_pin(), Some(2));
    overlay.unpin(new);
    assert_eq!(overlay.oldest_pin(), None);
}

#[test]
fn what_only_scans_need_is_not_fresh_and_one_version_for_each() {
    let mut overlay = Overlay::new(0, 10_000);
    let key = Bytes::from_static(b"hot");
    let pins = [0, 0, 3].map(|moment| overlay.pin(moment));
    let large = |revision| Version {
        revision,
        value: Some(Bytes::from(vec![0; 100])),
    };
    let one = bytes_of(&key, &large(1));
    for revision in 1..=10 {
        overlay.insert(TREE, key.clone(), large(revision));
    }
    overlay.keep_base(TREE, &key, large(0));
    assert_eq!(overlay.fresh_bytes(), 10 * one);
    // Those before all and of 3, and what the trees hold, which hides them.
    overlay.drop_applied(8);
    assert_eq!(
        (overlay.fresh_bytes(), overlay.retained_bytes),
        (2 * one, 3 * one)
    );
    overlay.drop_applied(10);
    assert_eq!(
        (overlay.fresh_bytes(), overlay.retained_bytes),
        (0, 3 * one)
    );
    overlay.unpin(pins[2]);
    overlay.drop_applied(10);
    assert_eq!(overlay.retained_bytes, 2 * one);
    pins[..2].iter().for_each(|pin| overlay.unpin(*pin));
    overlay.drop_applied(10);
    assert_eq!((overlay.fresh_bytes(), overlay.retained_bytes), (0, 0));
}

#[test]
fn ranges_are_in_order_and_bounded() {
    let mut overlay = empty();
    for key in ["a", "b", "c", "d"] {
        overlay.insert(TREE, Bytes::from_static(key.as_bytes()), version(1));
    }
    let range = |start: &'static [u8], end: &'static [u8], limit| {
        overlay
            .range(
                TREE,
                (Bound::Included(start), Bound::Excluded(end)),
                1,
                limit,
            )
            .into_iter()
            .map(|(key, _)| String::from_utf8(key.to_vec()).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(range(b"b", b"d", 9), ["b", "c"]);
    assert_eq!(range(b"a", b"z", 2), ["a", "b"]);
    assert!(range(b"z", b"a", 9).is_empty());
}

/// An overlay over trees, and all that ever was.
struct World {
    overlay: Overlay,
    trees: BTreeMap<Bytes, Version>,
    history: BTreeMap<Bytes, Vec<Version>>,
    revision: u64,
}

impl World {
    fn write(&mut self, key: Bytes, value: Option<Bytes>) {
        self.revision += 1;
        let version = Version {
            revision: self.revision,
            value,
        };
        self.overlay.insert(TREE, key.clone(), version.clone());
        self.history.entry(key).or_default().push(version);
    }

    fn checkpoint(&mut self, revision: u64) {
        let none = Version {
            revision: 0,
            value: None,
        };
        for (tree, key, version) in self.overlay.written(revision) {
            if self.overlay.needs_base(tree, &key) {
                let base = self.trees.get(&key).unwrap_or(&none).clone();
                self.overlay.keep_base(tree, &key, base);
            }
            self.trees.insert(key, version);
        }
        self.overlay.drop_applied(revision);
    }

    fn assert_seen(&self, moment: u64) {
        self.assert_known(moment, |key| self.overlay.get(TREE, key, moment));
    }

    /// By who looked what has settled before the checkpoint came.
    fn assert_settled(&self, looked: u64) {
        let moment = looked.max(self.overlay.checkpoint());
        self.assert_known(moment, |key| self.overlay.settled(TREE, key, looked));
    }

    fn assert_known(&self, moment: u64, known: impl Fn(&Bytes) -> Known) {
        for (key, versions) in &self.history {
            let seen = match known(key) {
                Known::Version(version) => version.value,
                Known::InTrees => self.trees.get(key).and_then(|row| row.value.clone()),
            };
            let mut expected = versions.iter().rev();
            let expected = expected.find(|version| version.revision <= moment);
            let expected = expected.and_then(|version| version.value.clone());
            assert_eq!(seen, expected, "{key:?} at {moment}");
        }
    }
}

#[test]
fn every_scan_sees_its_moment_whatever_comes() {
    let mut random = numbers(7);
    for _ in 0..300 {
        let mut world = World {
            overlay: Overlay::new(0, usize::MAX),
            trees: BTreeMap::new(),
            history: BTreeMap::new(),
            revision: 0,
        };
        let mut pins = Vec::new();
        for _ in 0..60 {
            match random(8) {
                0..4 => {
                    let key = Bytes::from(random(3).to_string());
                    let value = (random(4) > 0).then(|| Bytes::from(world.revision.to_string()));
                    world.write(key, value);
                }
                4 => pins.push(world.overlay.pin(world.revision)),
                5 if !pins.is_empty() => {
                    let at = usize::try_from(random(pins.len() as u64)).unwrap();
                    world.overlay.unpin(pins.swap_remove(at));
                }
                _ => {
                    let behind = world.revision - world.overlay.checkpoint();
                    world.checkpoint(world.overlay.checkpoint() + random(behind + 1));
                }
            }
            (0..=world.revision).for_each(|moment| world.assert_settled(moment));
            world.assert_seen(u64::MAX);
            pins.iter()
                .for_each(|pin| world.assert_seen(pin.revision()));
        }
        pins.iter().for_each(|pin| world.overlay.unpin(*pin));
        world.checkpoint(world.revision);
        assert_eq!(world.overlay.retained_bytes + world.overlay.fresh_bytes, 0);
    }
}

/// Numbers below what is asked for, the same in each run.
fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    }
}
