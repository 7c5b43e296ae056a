//! Whether a history is linearizable: whether its operations can be put into one order, each between its call and its
//! return, in which the specification explains every answer.
//!
//! The search is that of Wing and Gong, with the memory of Lowe: which operations are placed and what state they leave is
//! never tried twice. An operation of which no answer is known, because its process was killed, has happened by then or
//! never will.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// More states than this are not looked at; a history that needs so many proves nothing.
const MOST_STATES: usize = 1_000_000;
/// What is said of it.
pub const UNDECIDED: &str = "undecided";

/// An operation, and when it was under way.
#[derive(Debug, Clone)]
pub struct Operation<C, A> {
    #[allow(dead_code, reason = "a violation tells it")]
    pub thread: usize,
    pub call: C,
    pub called: u64,
    /// When it returned, or when its process was killed.
    pub returned: u64,
    /// `None` where its process was killed.
    pub answer: Option<A>,
}

/// What operations do, one after the other.
pub trait Specification: Clone + Eq + Hash + Debug {
    type Call: Debug;
    type Answer: Debug;

    /// The state after an operation, `None` where it cannot have been answered so. `number` names the operation. Where no
    /// answer is known, it is what the operation does where it is done at all.
    fn after(
        &self,
        number: usize,
        call: &Self::Call,
        answer: Option<&Self::Answer>,
    ) -> Option<Self>;
}

/// Looks for an order; answers what stands against every one.
pub fn check<S: Specification>(
    begin: S,
    operations: &[Operation<S::Call, S::Answer>],
) -> Result<(), String> {
    Search::new(begin, operations).run()
}

/// A call or a return in the list of those not yet placed.
#[derive(Debug, Clone, Copy)]
struct Event {
    operation: usize,
    is_call: bool,
    /// Of a call: where its return stands.
    partner: usize,
    previous: usize,
    next: usize,
}

/// A placed operation: how to take it back.
struct Placed<S> {
    event: usize,
    /// Whether it was taken for one that never happened.
    is_dropped: bool,
    before: S,
}

struct Search<'a, S: Specification> {
    operations: &'a [Operation<S::Call, S::Answer>],
    /// The events in the order of time; the first is the head of the list and none.
    events: Vec<Event>,
    state: S,
    placed: Vec<Placed<S>>,
    marks: Vec<u64>,
    seen: HashSet<(Box<[u64]>, S)>,
    furthest: Option<Furthest<S>>,
}

/// The longest order found.
struct Furthest<S> {
    order: Vec<usize>,
    leaves: S,
    /// The operation that returns too early for it.
    stuck: usize,
}

/// So many operations at the end of an order are told.
const TOLD: usize = 12;

/// The head of the list, and its end.
const HEAD: usize = 0;

impl<'a, S: Specification> Search<'a, S> {
    fn new(begin: S, operations: &'a [Operation<S::Call, S::Answer>]) -> Search<'a, S> {
        let mut times: Vec<(u64, usize, bool)> = Vec::with_capacity(2 * operations.len());
        for (number, operation) in operations.iter().enumerate() {
            assert!(operation.called < operation.returned, "{operation:?}");
            times.push((operation.called, number, true));
            times.push((operation.returned, number, false));
        }
        // Of one time, as where processes are killed: calls first, so that such operations overlap.
        times.sort_by_key(|(time, number, is_call)| (*time, !is_call, *number));
        let head = Event {
            operation: usize::MAX,
            is_call: false,
            partner: HEAD,
            previous: times.len(),
            next: if times.is_empty() { HEAD } else { 1 },
        };
        let mut events = vec![head];
        let mut calls = vec![0; operations.len()];
        for (place, (_, operation, is_call)) in times.iter().enumerate() {
            let place = place + 1;
            events.push(Event {
                operation: *operation,
                is_call: *is_call,
                partner: HEAD,
                previous: place - 1,
                next: if place == times.len() {
                    HEAD
                } else {
                    place + 1
                },
            });
            if *is_call {
                calls[*operation] = place;
            } else {
                events[calls[*operation]].partner = place;
            }
        }
        Search {
            operations,
            events,
            state: begin,
            placed: Vec::new(),
            marks: vec![0; operations.len().div_ceil(64)],
            seen: HashSet::new(),
            furthest: None,
        }
    }

    fn run(mut self) -> Result<(), String> {
        let mut at = self.events[HEAD].next;
        let mut drops = false;
        while at != HEAD {
            let event = self.events[at];
            if event.is_call {
                if self.place(at, drops) {
                    at = self.events[HEAD].next;
                    drops = false;
                } else if !drops && self.operations[event.operation].answer.is_none() {
                    drops = true;
                } else {
                    at = event.next;
                    drops = false;
                }
                if self.seen.len() > MOST_STATES {
                    return Err(format!("{UNDECIDED} after {MOST_STATES} states"));
                }
                continue;
            }
            self.note_stuck(event.operation);
            let Some(last) = self.placed.pop() else {
                return Err(self.explain());
            };
            self.put_back(last.event);
            self.state = last.before;
            let operation = self.events[last.event].operation;
            self.marks[operation / 64] &= !(1 << (operation % 64));
            // Its other alternative, or the next operation.
            if !last.is_dropped && self.operations[operation].answer.is_none() {
                (at, drops) = (last.event, true);
            } else {
                (at, drops) = (self.events[last.event].next, false);
            }
        }
        Ok(())
    }

    /// Places the operation called here, as one that happened or as one that never does, where that leads to something new.
    fn place(&mut self, at: usize, drops: bool) -> bool {
        let number = self.events[at].operation;
        let operation = &self.operations[number];
        let after = match drops {
            true => Some(self.state.clone()),
            false => self
                .state
                .after(number, &operation.call, operation.answer.as_ref()),
        };
        let Some(after) = after else {
            return false;
        };
        let mark = 1 << (number % 64);
        self.marks[number / 64] |= mark;
        if !self
            .seen
            .insert((self.marks.clone().into_boxed_slice(), after.clone()))
        {
            self.marks[number / 64] &= !mark;
            return false;
        }
        let before = std::mem::replace(&mut self.state, after);
        self.placed.push(Placed {
            event: at,
            is_dropped: drops,
            before,
        });
        self.take_out(at);
        true
    }

    fn take_out(&mut self, call: usize) {
        for at in [call, self.events[call].partner] {
            let Event { previous, next, .. } = self.events[at];
            self.events[previous].next = next;
            self.events[next].previous = previous;
        }
    }

    fn put_back(&mut self, call: usize) {
        for at in [self.events[call].partner, call] {
            let Event { previous, next, .. } = self.events[at];
            self.events[previous].next = at;
            self.events[next].previous = at;
        }
    }

    fn note_stuck(&mut self, operation: usize) {
        let most = self.furthest.as_ref().map(|furthest| furthest.order.len());
        if most.is_none_or(|most| self.placed.len() > most) {
            let order = self
                .placed
                .iter()
                .map(|placed| self.events[placed.event].operation);
            self.furthest = Some(Furthest {
                order: order.collect(),
                leaves: self.state.clone(),
                stuck: operation,
            });
        }
    }

    fn explain(&self) -> String {
        let Some(Furthest {
            order,
            leaves,
            stuck,
        }) = &self.furthest
        else {
            return "there is no order".to_owned();
        };
        let told = order[order.len().saturating_sub(TOLD)..].iter();
        let told: Vec<_> = told
            .map(|number| format!("\n  {:?}", self.operations[*number]))
            .collect();
        let stuck = &self.operations[*stuck];
        format!(
            "{} of {} operations have an order, which ends in{}\n and leaves {leaves:?}; nothing explains\n  {stuck:?}",
            order.len(),
            self.operations.len(),
            told.concat()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: a write says nothing, a read says what it found.
    impl Specification for u64 {
        type Call = Option<u64>;
        type Answer = u64;

        fn after(&self, _: usize, call: &Option<u64>, answer: Option<&u64>) -> Option<u64> {
            match call {
                Some(written) => Some(*written),
                None => answer.is_none_or(|read| read == self).then_some(*self),
            }
        }
    }

    type Step = (Option<u64>, u64, u64, Option<u64>);

    fn is_linearizable(steps: &[Step]) -> bool {
        let operations: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(thread, (call, called, returned, answer))| Operation {
                thread,
                call: *call,
                called: *called,
                returned: *returned,
                answer: *answer,
            })
            .collect();
        check(0, &operations).is_ok()
    }

    fn write(value: u64, called: u64, returned: u64) -> Step {
        (Some(value), called, returned, Some(0))
    }

    fn read(value: u64, called: u64, returned: u64) -> Step {
        (None, called, returned, Some(value))
    }

    fn killed(value: u64, called: u64, at: u64) -> Step {
        (Some(value), called, at, None)
    }

    #[test]
    fn one_after_the_other() {
        assert!(is_linearizable(&[]));
        assert!(is_linearizable(&[write(1, 0, 1), read(1, 2, 3)]));
        assert!(!is_linearizable(&[write(1, 0, 1), read(0, 2, 3)]));
        assert!(!is_linearizable(&[read(1, 0, 1), write(1, 2, 3)]));
    }

    #[test]
    fn what_overlaps_has_any_order() {
        assert!(is_linearizable(&[
            write(1, 0, 5),
            read(0, 1, 2),
            read(1, 3, 4)
        ]));
        assert!(!is_linearizable(&[
            write(1, 0, 5),
            read(1, 1, 2),
            read(0, 3, 4)
        ]));
        let two_writers = [write(1, 0, 9), write(2, 1, 8)];
        for (first, second, expected) in [(1, 2, true), (2, 1, true), (0, 2, true), (2, 0, false)] {
            let reads = [read(first, 2, 3), read(second, 4, 5)];
            assert_eq!(is_linearizable(&[two_writers, reads].concat()), expected);
        }
        // Both orders in turn: no single one explains it.
        let turns = [read(1, 2, 3), read(2, 4, 5), read(1, 6, 7)];
        assert!(!is_linearizable(&[&two_writers[..], &turns].concat()));
    }

    #[test]
    fn two_readers_agree() {
        let writes = [write(1, 0, 20), write(2, 1, 21)];
        let one = [read(1, 2, 5), read(2, 6, 9)];
        let other = [read(2, 3, 4), read(1, 7, 8)];
        assert!(is_linearizable(&[writes, one].concat()));
        assert!(is_linearizable(&[writes, other].concat()));
        assert!(!is_linearizable(&[writes, one, other].concat()));
    }

    #[test]
    fn what_a_kill_cut_short_has_happened_by_then_or_never_will() {
        let before = [write(1, 0, 1), killed(2, 2, 10)];
        for (reads, expected) in [
            (vec![read(1, 11, 12)], true),
            (vec![read(2, 11, 12)], true),
            (vec![read(2, 3, 4), read(2, 11, 12)], true),
            (vec![read(2, 3, 4), read(1, 11, 12)], false),
            (vec![read(1, 11, 12), read(2, 13, 14)], false),
            (vec![read(3, 11, 12)], false),
        ] {
            assert_eq!(
                is_linearizable(&[before.to_vec(), reads].concat()),
                expected
            );
        }
    }

    #[test]
    fn many_at_once_are_decided() {
        let writes = (1..=12).map(|value| write(value, value, 100 + value));
        let reads = (1..=12).map(|value| read(13 - value, 200 + 2 * value, 201 + 2 * value));
        let mut steps: Vec<_> = writes.collect();
        assert!(is_linearizable(&steps));
        steps.extend(reads);
        assert!(!is_linearizable(&steps));
    }
}
