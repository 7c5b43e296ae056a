//! Packets: how a message is cut for the wire. All numbers are big-endian.
//!
//! | packet | is |
//! |---|---|
//! | 0 | message id (8 bytes), 0 (4), how many packets follow (4), the kind of message in UTF-8 |
//! | 1, 2, … | message id (8 bytes), its number (4), at most 1,024 bytes of the message |
//!
//! The packets of a message come in order, with none of another message between them. One that does not come so ends the
//! message under way; the next packet 0 begins anew.

/// Bytes of a message that a packet holds at most.
pub(super) const PAYLOAD_BYTES: usize = 1024;
/// The id of the message and the number of the packet.
const HEAD_BYTES: usize = 12;
/// Longest kind of a message, in bytes.
const MAX_KIND_BYTES: usize = 256;

/// What a packet brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A message begins. With no packets to follow, it has ended as well.
    Begin {
        id: u64,
        kind: &'a str,
        is_whole: bool,
    },
    /// The next bytes of the message that has begun.
    Payload { bytes: &'a [u8], is_last: bool },
}

/// A packet that is not the one to come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfOrder {
    /// The message that is lost by it, where one is.
    pub(super) lost: Option<u64>,
    pub(super) reason: &'static str,
}

/// Follows the packets of one connection. It keeps numbers, and no bytes, however many packets a message says it has.
#[derive(Debug, Default)]
pub(super) struct Packets {
    expected: Option<Expected>,
}

#[derive(Debug)]
struct Expected {
    id: u64,
    number: u32,
    total: u32,
}

impl Packets {
    /// What this packet brings to the message under way, or begins.
    pub(super) fn take<'a>(&mut self, packet: &'a [u8]) -> Result<Piece<'a>, OutOfOrder> {
        let expected = self.expected.take();
        let lost = expected.as_ref().map(|expected| expected.id);
        let out_of_order = |reason| OutOfOrder { lost, reason };
        let Some((id, packet)) = packet.split_first_chunk() else {
            return Err(out_of_order("a packet has at least 12 bytes"));
        };
        let Some((number, packet)) = packet.split_first_chunk() else {
            return Err(out_of_order("a packet has at least 12 bytes"));
        };
        let (id, number) = (u64::from_be_bytes(*id), u32::from_be_bytes(*number));
        if number == 0 {
            if lost.is_some() {
                return Err(out_of_order(
                    "a message began before the one before had ended",
                ));
            }
            return self.begin(id, packet);
        }
        let Some(expected) = expected else {
            return Err(out_of_order("no message has begun"));
        };
        if (id, number) != (expected.id, expected.number) {
            return Err(out_of_order("a packet is not the next of its message"));
        }
        if packet.len() > PAYLOAD_BYTES {
            return Err(out_of_order(
                "a packet has more than 1,024 bytes of a message",
            ));
        }
        let is_last = number == expected.total;
        self.expected = (!is_last).then(|| Expected {
            number: number + 1,
            ..expected
        });
        Ok(Piece::Payload {
            bytes: packet,
            is_last,
        })
    }

    fn begin<'a>(&mut self, id: u64, packet: &'a [u8]) -> Result<Piece<'a>, OutOfOrder> {
        // Its sender waits for an answer to this message, so this is the one that is lost.
        let refused = |reason| OutOfOrder {
            lost: Some(id),
            reason,
        };
        let Some((total, kind)) = packet.split_first_chunk() else {
            return Err(refused("packet 0 has at least 16 bytes"));
        };
        let kind = std::str::from_utf8(kind).ok();
        let kind = kind.filter(|kind| kind.len() <= MAX_KIND_BYTES);
        let kind =
            kind.ok_or_else(|| refused("the kind of a message is at most 256 bytes of UTF-8"))?;
        let total = u32::from_be_bytes(*total);
        let is_whole = total == 0;
        self.expected = (!is_whole).then_some(Expected {
            id,
            number: 1,
            total,
        });
        Ok(Piece::Begin { id, kind, is_whole })
    }
}

/// How many packets follow packet 0, `None` where a message cannot be so long.
pub(super) fn count(bytes: u64) -> Option<u32> {
    u32::try_from(bytes.div_ceil(PAYLOAD_BYTES as u64)).ok()
}

/// Packet 0 of a message.
pub(super) fn first(id: u64, kind: &str, total: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEAD_BYTES + 4 + kind.len());
    packet.extend(id.to_be_bytes());
    packet.extend(0_u32.to_be_bytes());
    packet.extend(total.to_be_bytes());
    packet.extend(kind.as_bytes());
    packet
}

/// A later packet of a message.
pub(super) fn later(id: u64, number: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEAD_BYTES + payload.len());
    packet.extend(id.to_be_bytes());
    packet.extend(number.to_be_bytes());
    packet.extend(payload);
    packet
}

/// Packets from any bytes: what is taken is what would be sent, and what is lost is what was under way.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    hold_to_law(bytes);
}

/// Each packet of `bytes` has its length before it, in one byte.
#[cfg(any(fuzzing, test))]
fn hold_to_law(bytes: &[u8]) {
    let mut packets = Packets::default();
    let (mut rest, mut under_way) = (bytes, None);
    while let Some((length, more)) = rest.split_first() {
        let (packet, more) = more.split_at(usize::from(*length).min(more.len()));
        rest = more;
        let before = under_way.take();
        match packets.take(packet) {
            Ok(Piece::Begin { id, kind, is_whole }) => {
                assert!(before.is_none());
                let total = packet.get(12..16).and_then(|total| total.try_into().ok());
                let total = u32::from_be_bytes(total.unwrap_or_default());
                assert_eq!(is_whole, total == 0);
                assert_eq!(first(id, kind, total), packet);
                under_way = (!is_whole).then_some((id, 1, total));
            }
            Ok(Piece::Payload { bytes, is_last }) => {
                let (id, number, total): (u64, u32, u32) = before.unwrap_or_default();
                assert_eq!(later(id, number, bytes), packet);
                assert_eq!(is_last, number == total);
                under_way = (!is_last).then(|| (id, number + 1, total));
            }
            Err(OutOfOrder { lost, .. }) => {
                assert!(before.is_none_or(|(id, ..)| lost == Some(id)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(outcome: Result<Piece<'_>, OutOfOrder>) -> Option<u64> {
        outcome.unwrap_err().lost
    }

    #[test]
    fn a_message_is_followed_from_its_first_packet_to_its_last() {
        let mut packets = Packets::default();
        let begin = first(7, "storage.write", 2);
        assert_eq!(
            packets.take(&begin).unwrap(),
            Piece::Begin {
                id: 7,
                kind: "storage.write",
                is_whole: false
            }
        );
        for (number, is_last) in [(1, false), (2, true)] {
            let packet = later(7, number, b"abc");
            let bytes = b"abc".as_slice();
            assert_eq!(
                packets.take(&packet).unwrap(),
                Piece::Payload { bytes, is_last }
            );
        }
        assert_eq!(
            first(1, "k", 2),
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, b'k']
        );
        assert_eq!(
            later(1, 2, b"x"),
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, b'x']
        );
    }

    #[test]
    fn a_packet_that_is_not_the_next_ends_the_message() {
        let cases: [(Vec<u8>, &str); 6] = [
            (later(7, 2, b""), "a gap"),
            (later(8, 1, b""), "of another message"),
            (first(8, "other", 1), "another message begins"),
            (later(7, 1, &[0; 1025]), "too long"),
            (vec![0; 11], "too short"),
            (Vec::new(), "empty"),
        ];
        for (packet, why) in cases {
            let mut packets = Packets::default();
            packets.take(&first(7, "storage.write", 3)).unwrap();
            assert_eq!(lost(packets.take(&packet)), Some(7), "{why}");
            assert_eq!(lost(packets.take(&later(7, 1, b""))), None, "{why}");
            assert!(packets.take(&first(9, "next", 0)).is_ok(), "{why}");
        }
    }

    #[test]
    fn a_first_packet_that_is_no_packet_loses_its_own_message() {
        let mut packets = Packets::default();
        assert_eq!(lost(packets.take(&first(5, "x", 1)[..14])), Some(5));
        assert_eq!(lost(packets.take(&first(6, &"x".repeat(257), 1))), Some(6));
        let mut no_text = first(7, "x", 1);
        no_text[16] = 0xff;
        assert_eq!(lost(packets.take(&no_text)), Some(7));
        assert!(
            packets.take(&first(8, "", u32::MAX)).is_ok(),
            "a huge total costs nothing"
        );
    }

    /// Streams that are nearly right: the fuzz target has those that are not.
    #[test]
    fn any_packets_are_taken_or_lost() {
        let packets = [
            first(1, "a", 2),
            first(1, "", 0),
            later(1, 1, b"x"),
            later(1, 2, b""),
            later(2, 1, b"x"),
            first(2, "b", 1),
            vec![0; 15],
            Vec::new(),
        ];
        let count = packets.len();
        for number in 0..count.pow(4) {
            let mut bytes = Vec::new();
            for place in 0..4 {
                let packet = &packets[number / count.pow(place) % count];
                bytes.push(u8::try_from(packet.len()).unwrap());
                bytes.extend(packet);
            }
            hold_to_law(&bytes);
        }
    }

    #[test]
    fn packets_are_counted() {
        for (bytes, expected) in [(0, 0), (1, 1), (1024, 1), (1025, 2)] {
            assert_eq!(count(bytes), Some(expected));
        }
        assert_eq!(count(u64::from(u32::MAX) * 1024 + 1), None);
    }
}
