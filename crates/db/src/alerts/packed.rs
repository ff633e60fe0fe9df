//! Alerts, events and notifications as bytes of the journal.
//!
//! An entry is a version, a time, and items behind each other: a kind, a length, and fields in a fixed order. Lengths
//! are in front, so that an item is passed over without a look inside. A text that was written in the entry before is
//! the place where it stands, and times are told from the one in front: alerts of a storm have most of this in common.
//! What waits is kept in memory as it is here, so a byte less an alert is a byte less of memory.

use std::collections::BTreeMap;

use model::{Alert, Fingerprint, Labels, Timestamp};

use super::notifications::cut;
use super::{
    AlertEvent, AlertStatus, Delivery, DeliveryResult, EventKind, Sent, StoredAlert, Told,
};

const VERSION: u8 = 3;
const ALERT: u8 = 1;
const EVENT: u8 = 2;
const TOLD: u8 = 3;
const DELIVERY: u8 = 4;
/// Version, and the time from which the others are told.
const FRONT_BYTES: usize = 9;
/// Kind and length of an item.
const HEAD_BYTES: usize = 4;

/// Texts of an entry that are remembered while it is written: many more than one alert has, so that those of its own
/// seldom take the place of what it has in common with the next.
const REMEMBERED: usize = 1024;
/// A place takes up to three bytes; what is shorter is written again.
const REMEMBERED_BYTES_MIN: usize = 4;

/// An entry of the journal that is being written.
#[derive(Debug)]
pub(super) struct Packer<'a> {
    bytes: Vec<u8>,
    /// The time from which the others are told.
    base: Option<Timestamp>,
    /// Texts and their places, each in the slot of its hash; a later one takes the place of another there.
    texts: Vec<(&'a str, usize)>,
}

impl<'a> Packer<'a> {
    pub(super) fn new() -> Self {
        let mut bytes = vec![0; FRONT_BYTES];
        bytes[0] = VERSION;
        Self { bytes, base: None, texts: vec![("", 0); REMEMBERED] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == FRONT_BYTES
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn alert(&mut self, fingerprint: Fingerprint, stored: &'a StoredAlert) {
        let alert = &stored.alert;
        self.item(ALERT, |packer| {
            packer.fingerprint(fingerprint);
            packer.one_of(&AlertStatus::ALL, stored.status);
            packer.bytes.push(stored.priority);
            packer.time(alert.ends_at);
            packer.time(stored.updated_at);
            packer.time(alert.starts_at);
            packer.bytes.push(u8::from(stored.ends_by_timeout));
            packer.text(&alert.generator_url);
            packer.number(alert.annotations.len() as u64);
            for (name, text) in &alert.annotations {
                packer.text(name);
                packer.text(text);
            }
            for (name, value) in alert.labels.iter() {
                packer.text(name);
                packer.text(value);
            }
        });
    }

    pub(super) fn event(&mut self, event: &'a AlertEvent, is_queued: bool) {
        self.item(EVENT, |packer| {
            packer.fingerprint(event.fingerprint);
            packer.time(event.starts_at);
            packer.one_of(&EventKind::ALL, event.kind);
            packer.bytes.push(event.priority);
            packer.time(event.at);
            packer.bytes.push(u8::from(is_queued));
            packer.text(&event.value);
        });
    }

    pub(super) fn told(&mut self, told: &'a Told) {
        self.item(TOLD, |packer| {
            packer.fingerprint(told.fingerprint);
            packer.one_of(&DeliveryResult::ALL, told.result);
            packer.text(&told.receiver);
            packer.bytes.push(u8::from(told.sent.is_some()));
            if let Some(sent) = told.sent {
                packer.one_of(&AlertStatus::ALL, sent.status);
                packer.time(sent.starts_at);
                packer.time(sent.at);
            }
            packer.time(told.tried_at);
            packer.number(told.attempts.into());
            packer.number(told.code.into());
            packer.text(cut(&told.detail));
        });
    }

    pub(super) fn delivery(&mut self, delivery: &'a Delivery) {
        self.item(DELIVERY, |packer| {
            packer.fingerprint(delivery.fingerprint);
            packer.text(&delivery.receiver);
            packer.one_of(&AlertStatus::ALL, delivery.status);
            packer.time(delivery.at);
            packer.one_of(&DeliveryResult::ALL, delivery.result);
            packer.number(delivery.attempt.into());
            packer.number(delivery.code.into());
            packer.number(delivery.duration_ms.into());
            packer.text(cut(&delivery.detail));
        });
    }

    fn item(&mut self, kind: u8, write: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([kind, 0, 0, 0]);
        write(self);
        let length = self.bytes.len() - start - HEAD_BYTES;
        // The limits at the door keep an alert far below the 16 MiB that three bytes can tell.
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        self.bytes[start + 1..start + HEAD_BYTES].copy_from_slice(&length[..HEAD_BYTES - 1]);
    }

    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// How far it is from the first time of the entry; the lowest bit is the sign.
    fn time(&mut self, at: Timestamp) {
        let base = *self.base.get_or_insert_with(|| {
            self.bytes[1..FRONT_BYTES].copy_from_slice(&at.0.to_le_bytes());
            at
        });
        let apart = at.0.wrapping_sub(base.0);
        self.number((apart << 1 ^ apart >> 63).cast_unsigned());
    }

    fn fingerprint(&mut self, fingerprint: Fingerprint) {
        self.bytes.extend(fingerprint.0.to_le_bytes());
    }

    fn one_of<T: PartialEq>(&mut self, all: &[T], one: T) {
        let position = all.iter().position(|other| *other == one);
        self.bytes
            .push(position.and_then(|position| u8::try_from(position).ok()).unwrap_or(u8::MAX));
    }

    /// An even number is twice the length of the text that follows, an odd one is twice the place of such a text, and
    /// one.
    fn text(&mut self, text: &'a str) {
        let here = self.bytes.len();
        if text.len() >= REMEMBERED_BYTES_MIN {
            let slot = &mut self.texts[slot_of(text)];
            if slot.0 == text {
                let place = slot.1;
                self.number((place << 1 | 1) as u64);
                return;
            }
            *slot = (text, here);
        }
        self.number((text.len() << 1) as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

/// Mixes the length, the first and the last bytes: enough to tell texts of one alert apart, and cheap.
fn slot_of(text: &str) -> usize {
    let bytes = text.as_bytes();
    let part = |chunk: Option<&[u8; 4]>| chunk.map_or(0, |chunk| u32::from_le_bytes(*chunk));
    let (first, last) = (part(bytes.first_chunk()), part(bytes.last_chunk()));
    let mixed = (u64::from(first) << 32 | u64::from(last)) ^ (bytes.len() as u64) << 20;
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize
}

/// One item of an entry, its fields not yet read but for those that tell what it is about.
#[derive(Debug)]
pub(super) enum Item<'a> {
    Alert(PackedAlert<'a>),
    Event(PackedEvent<'a>),
    Told(PackedTold<'a>),
    Delivery(PackedDelivery<'a>),
}

/// A packed alert.
#[derive(Debug)]
pub(super) struct PackedAlert<'a> {
    pub(super) fingerprint: Fingerprint,
    pub(super) status: AlertStatus,
    pub(super) priority: u8,
    pub(super) ends_at: Timestamp,
    pub(super) updated_at: Timestamp,
    rest: Reader<'a>,
}

/// A packed event.
#[derive(Debug)]
pub(super) struct PackedEvent<'a>(Reader<'a>);

/// A packed entry of the notification log.
#[derive(Debug)]
pub(super) struct PackedTold<'a> {
    pub(super) fingerprint: Fingerprint,
    pub(super) result: DeliveryResult,
    pub(super) receiver: &'a str,
    rest: Reader<'a>,
}

/// A packed attempt.
#[derive(Debug)]
pub(super) struct PackedDelivery<'a>(Reader<'a>);

/// The items of an entry with their places; `None` for what is not one of ours.
pub(super) fn items(entry: &[u8]) -> impl Iterator<Item = Option<(usize, Item<'_>)>> {
    let mut at = FRONT_BYTES;
    let mut is_good = entry.first() == Some(&VERSION) && entry.len() >= FRONT_BYTES;
    let mut is_wrong_from_the_start = !is_good;
    std::iter::from_fn(move || {
        if std::mem::take(&mut is_wrong_from_the_start) {
            return Some(None);
        }
        if !is_good || at == entry.len() {
            return None;
        }
        let place = at;
        let found = item_at(entry, place);
        is_good = found.is_some();
        Some(found.map(|(item, length)| {
            at += HEAD_BYTES + length;
            (place, item)
        }))
    })
}

/// The item at a place that [`items`] told, and the length behind its head.
pub(super) fn item_at(entry: &[u8], place: usize) -> Option<(Item<'_>, usize)> {
    let mut head = Reader { entry, rest: entry.get(place..)? };
    let [kind, lengths @ ..] = head.array::<HEAD_BYTES>()?;
    let length = lengths.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let mut rest = Reader { entry, rest: head.rest.get(..length)? };
    let item = match kind {
        ALERT => Item::Alert(PackedAlert {
            fingerprint: rest.fingerprint()?,
            status: rest.one_of(&AlertStatus::ALL)?,
            priority: rest.byte()?,
            ends_at: rest.time()?,
            updated_at: rest.time()?,
            rest,
        }),
        EVENT => Item::Event(PackedEvent(rest)),
        TOLD => Item::Told(PackedTold {
            fingerprint: rest.fingerprint()?,
            result: rest.one_of(&DeliveryResult::ALL)?,
            receiver: rest.text()?,
            rest,
        }),
        DELIVERY => Item::Delivery(PackedDelivery(rest)),
        _ => return None,
    };
    Some((item, length))
}

impl PackedAlert<'_> {
    pub(super) fn read(mut self) -> Option<StoredAlert> {
        let rest = &mut self.rest;
        let starts_at = rest.time()?;
        let ends_by_timeout = rest.byte()? != 0;
        let generator_url = rest.text()?.to_owned();
        let mut annotations = BTreeMap::new();
        for _ in 0..rest.number()? {
            annotations.insert(rest.text()?.to_owned(), rest.text()?.to_owned());
        }
        let labels =
            Labels::from_sorted(std::iter::from_fn(|| Some((rest.text()?, rest.text()?))))?;
        if !rest.rest.is_empty() {
            return None;
        }
        let alert = Alert { labels, annotations, starts_at, ends_at: self.ends_at, generator_url };
        let Self { status, priority, updated_at, .. } = self;
        Some(StoredAlert { alert, status, priority, updated_at, ends_by_timeout })
    }
}

impl PackedEvent<'_> {
    /// The event, and whether it is on the queues.
    pub(super) fn read(self) -> Option<(AlertEvent, bool)> {
        let mut rest = self.0;
        let (fingerprint, starts_at) = (rest.fingerprint()?, rest.time()?);
        let kind = rest.one_of(&EventKind::ALL)?;
        let (priority, at) = (rest.byte()?, rest.time()?);
        let is_queued = rest.byte()? != 0;
        let value = rest.text()?.to_owned();
        Some((AlertEvent { fingerprint, starts_at, kind, priority, at, value }, is_queued))
    }
}

impl PackedTold<'_> {
    pub(super) fn read(mut self) -> Option<Told> {
        let rest = &mut self.rest;
        let sent = match rest.byte()? {
            0 => None,
            _ => Some(Sent {
                status: rest.one_of(&AlertStatus::ALL)?,
                starts_at: rest.time()?,
                at: rest.time()?,
            }),
        };
        Some(Told {
            fingerprint: self.fingerprint,
            receiver: self.receiver.to_owned(),
            sent,
            result: self.result,
            tried_at: rest.time()?,
            attempts: rest.small()?,
            code: rest.small()?,
            detail: rest.text()?.to_owned(),
        })
    }
}

impl PackedDelivery<'_> {
    pub(super) fn read(self) -> Option<Delivery> {
        let mut rest = self.0;
        Some(Delivery {
            fingerprint: rest.fingerprint()?,
            receiver: rest.text()?.to_owned(),
            status: rest.one_of(&AlertStatus::ALL)?,
            at: rest.time()?,
            result: rest.one_of(&DeliveryResult::ALL)?,
            attempt: rest.small()?,
            code: rest.small()?,
            duration_ms: rest.small()?,
            detail: rest.text()?.to_owned(),
        })
    }
}

#[derive(Debug)]
struct Reader<'a> {
    entry: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn time(&mut self) -> Option<Timestamp> {
        let base = i64::from_le_bytes(*self.entry.get(1..)?.first_chunk()?);
        let number = self.number()?;
        let apart = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
        Some(Timestamp(base.wrapping_add(apart)))
    }

    fn fingerprint(&mut self) -> Option<Fingerprint> {
        self.array().map(|bytes| Fingerprint(u64::from_le_bytes(bytes)))
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::from(self.byte()?)).copied()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let number: usize = self.small()?;
        if number & 1 == 0 {
            return self.plain_text(number >> 1);
        }
        let mut there = Self { entry: self.entry, rest: self.entry.get(number >> 1..)? };
        let number: usize = there.small()?;
        // A place of a place is nothing that was written.
        if number & 1 == 0 { there.plain_text(number >> 1) } else { None }
    }

    fn plain_text(&mut self, length: usize) -> Option<&'a str> {
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment() -> impl Strategy<Value = Timestamp> {
        any::<i64>().prop_map(Timestamp)
    }

    fn alert() -> impl Strategy<Value = StoredAlert> {
        let texts = || proptest::collection::btree_map(".{0,9}", ".{0,200}", 0..4);
        let status = proptest::sample::select(AlertStatus::ALL.to_vec());
        let times = (moment(), moment(), moment());
        let rest = (any::<u8>(), any::<bool>(), ".{0,20}");
        (texts(), texts(), status, times, rest).prop_map(
            |(labels, annotations, status, (starts_at, ends_at, updated_at), rest)| {
                let (priority, ends_by_timeout, generator_url) = rest;
                let labels = Labels::from_pairs(labels);
                let alert = Alert { labels, annotations, starts_at, ends_at, generator_url };
                StoredAlert { alert, status, priority, updated_at, ends_by_timeout }
            },
        )
    }

    fn told() -> impl Strategy<Value = Told> {
        let sent = (proptest::sample::select(AlertStatus::ALL.to_vec()), moment(), moment())
            .prop_map(|(status, starts_at, at)| Sent { status, starts_at, at });
        let result = proptest::sample::select(DeliveryResult::ALL.to_vec());
        let rest = (any::<u64>(), ".{0,9}", ".{0,200}", any::<u32>(), any::<u16>());
        (proptest::option::of(sent), result, moment(), rest).prop_map(
            |(sent, result, tried_at, (fingerprint, receiver, detail, attempts, code))| Told {
                fingerprint: Fingerprint(fingerprint),
                receiver,
                sent,
                result,
                tried_at,
                attempts,
                code,
                detail: cut(&detail).to_owned(),
            },
        )
    }

    fn event_of(stored: &StoredAlert, kind: EventKind, at: Timestamp) -> AlertEvent {
        AlertEvent::new(stored, kind, at)
    }

    fn delivery_of(told: &Told, status: AlertStatus) -> Delivery {
        let Told { fingerprint, receiver, result, tried_at, attempts, code, detail, .. } =
            told.clone();
        Delivery {
            fingerprint,
            receiver,
            status,
            at: tried_at,
            result,
            attempt: attempts,
            code,
            duration_ms: attempts,
            detail,
        }
    }

    proptest! {
        #[test]
        fn an_entry_reads_back_what_was_written(stored in alert(), told in told(), queued: bool) {
            let event = event_of(&stored, EventKind::Stale, told.tried_at);
            let delivery = delivery_of(&told, stored.status);
            let mut packer = Packer::new();
            prop_assert!(packer.is_empty());
            packer.alert(stored.alert.fingerprint(), &stored);
            packer.event(&event, queued);
            packer.told(&told);
            packer.delivery(&delivery);
            let entry = packer.finish();
            let mut found = 0;
            for item in items(&entry) {
                found += 1;
                match item.unwrap().1 {
                    Item::Alert(packed) => {
                        prop_assert_eq!(packed.fingerprint, stored.alert.fingerprint());
                        prop_assert_eq!(packed.read(), Some(stored.clone()));
                    }
                    Item::Event(packed) => {
                        prop_assert_eq!(packed.read(), Some((event.clone(), queued)));
                    }
                    Item::Told(packed) => prop_assert_eq!(packed.read(), Some(told.clone())),
                    Item::Delivery(packed) => {
                        prop_assert_eq!(packed.read(), Some(delivery.clone()));
                    }
                }
            }
            prop_assert_eq!(found, 4);
        }

        #[test]
        fn damaged_bytes_are_noticed_or_read_and_never_fatal(
            mut stored in alert(), told in told(), at: prop::sample::Index, byte: u8, cut: bool,
        ) {
            stored.alert.generator_url.clear();
            let mut packer = Packer::new();
            packer.alert(stored.alert.fingerprint(), &stored);
            packer.told(&told);
            let mut entry = packer.finish();
            let at = at.index(entry.len());
            if cut { entry.truncate(at) } else { entry[at] = byte }
            for item in items(&entry).flatten() {
                match item.1 {
                    Item::Alert(packed) => drop(packed.read()),
                    Item::Event(packed) => drop(packed.read()),
                    Item::Told(packed) => drop(packed.read()),
                    Item::Delivery(packed) => drop(packed.read()),
                }
            }
        }
    }

    #[test]
    fn an_entry_of_another_version_is_noticed() {
        assert!(items(&[VERSION + 1, ALERT]).next().unwrap().is_none());
        assert!(items(&[]).next().unwrap().is_none());
        assert!(items(&Packer::new().finish()).next().is_none());
    }
}
