//! Moments, to the microsecond, as PostgreSQL keeps them. The domain never reads a clock: every moment is passed in.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A moment in UTC: microseconds since 1970-01-01T00:00:00Z.
///
/// Written as RFC 3339 with exactly six decimals and `Z`, so that equal moments have equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A length of time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(i64);

/// A range of time: from a moment on, up to another one and without that. It goes on for ever where one is absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimeRange {
    /// Then or later.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// The last moment that is accepted from outside: the end of the year 9999, the last that RFC 3339 can write.
const LAST_MICROSECOND: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The last moment that there is; nothing happens after it.
    pub const LAST: Self = Self(LAST_MICROSECOND);

    /// The moment `microseconds` after 1970 began, if RFC 3339 can write it.
    pub fn from_microseconds(microseconds: i64) -> Option<Self> {
        (0..=LAST_MICROSECOND).contains(&microseconds).then_some(Self(microseconds))
    }

    /// Microseconds since 1970 began.
    pub fn microseconds(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970 began.
    pub fn unix_seconds(self) -> i64 {
        self.0 / 1_000_000
    }

    /// The microseconds behind the last whole second.
    fn microsecond(self) -> u32 {
        (self.0 % 1_000_000) as u32
    }

    /// The moment `seconds` after 1970 began, if RFC 3339 can write it.
    pub fn from_unix_seconds(seconds: i64) -> Option<Self> {
        seconds.checked_mul(1_000_000).and_then(Self::from_microseconds)
    }

    /// The same moment, its nanoseconds cut off, if RFC 3339 can write it and it is not before 1970.
    pub fn from_datetime(moment: OffsetDateTime) -> Option<Self> {
        // The part of a second counts forward, before 1970 too.
        let whole = moment.unix_timestamp().checked_mul(1_000_000)?;
        whole.checked_add(moment.microsecond().into()).and_then(Self::from_microseconds)
    }

    /// The same moment as the date type of the PostgreSQL and HTTP libraries.
    pub fn to_datetime(self) -> OffsetDateTime {
        let second = OffsetDateTime::from_unix_timestamp(self.unix_seconds());
        let moment = second.and_then(|second| second.replace_microsecond(self.microsecond()));
        moment.unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Reads RFC 3339 with any offset.
    pub fn parse(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().and_then(Self::from_datetime)
    }

    /// This moment and `span` more; the last representable moment if that lies beyond it.
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0).clamp(0, LAST_MICROSECOND))
    }

    /// The time from `earlier` to this moment; nothing if it lies in the future.
    pub fn since(self, earlier: Self) -> Span {
        Span((self.0 - earlier.0).max(0))
    }
}

impl Span {
    /// A span of microseconds.
    pub const fn of_microseconds(microseconds: i64) -> Self {
        Self(microseconds)
    }

    /// A span of whole seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// A span of days of 24 hours.
    pub const fn days(days: i64) -> Self {
        Self::seconds(days * 86_400)
    }

    /// The span in microseconds.
    pub fn microseconds(self) -> i64 {
        self.0
    }

    /// The span in whole seconds; what is left over is cut off.
    pub fn whole_seconds(self) -> i64 {
        self.0 / 1_000_000
    }
}

/// How a moment is written; each digit is replaced.
const FORM: [u8; 27] = *b"0000-00-00T00:00:00.000000Z";

/// Writes a number right-aligned over zeros.
fn put(zeros: &mut [u8], number: u32) {
    let mut rest = number;
    for digit in zeros.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
}

impl Timestamp {
    /// Writes the moment into `text`. Events and states are full of moments: no detour through formatting.
    fn write(self, text: &mut [u8; FORM.len()]) -> &str {
        let utc = self.to_datetime();
        *text = FORM;
        put(&mut text[..4], utc.year().unsigned_abs());
        put(&mut text[5..7], u8::from(utc.month()).into());
        put(&mut text[8..10], utc.day().into());
        put(&mut text[11..13], utc.hour().into());
        put(&mut text[14..16], utc.minute().into());
        put(&mut text[17..19], utc.second().into());
        put(&mut text[20..26], utc.microsecond());
        // Every byte is ASCII.
        str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.write(&mut [0; FORM.len()]))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.write(&mut [0; FORM.len()]))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_being_written_and_read() {
        for microseconds in [0, 1, 999_999, 1_763_692_800_123_456, LAST_MICROSECOND] {
            let moment = Timestamp::from_microseconds(microseconds).expect("in range");
            assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
            assert_eq!(Timestamp::from_datetime(moment.to_datetime()), Some(moment));
        }
    }

    #[test]
    fn six_decimals_are_always_written() {
        let moment = Timestamp::from_unix_seconds(1_763_692_800).expect("in range");
        assert_eq!(moment.to_string(), "2025-11-21T02:40:00.000000Z");
        assert_eq!(moment.unix_seconds(), 1_763_692_800);
        assert_eq!(format!("{moment:?}"), moment.to_string());
    }

    #[test]
    fn what_rfc_3339_cannot_write_is_refused() {
        assert_eq!(Timestamp::from_microseconds(-1), None);
        assert_eq!(Timestamp::from_microseconds(LAST_MICROSECOND + 1), None);
        assert_eq!(Timestamp::from_unix_seconds(i64::MAX), None);
        assert_eq!(Timestamp::parse("yesterday"), None);
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59Z"), None);
        assert!(serde_json::from_str::<Timestamp>("\"tomorrow\"").is_err());
    }

    #[test]
    fn spans_never_leave_the_representable_range() {
        let moment = Timestamp::from_unix_seconds(100).expect("in range");
        assert_eq!(moment.plus(Span::seconds(5)), Timestamp::from_unix_seconds(105).expect("in range"));
        assert_eq!(moment.plus(Span(i64::MAX)).microseconds(), LAST_MICROSECOND);
        assert_eq!(moment.since(moment.plus(Span::days(1))), Span::seconds(0));
        assert_eq!(moment.plus(Span::days(2)).since(moment), Span::days(2));
        assert_eq!(Span::days(2).microseconds(), 172_800_000_000);
        assert_eq!(Span(172_800_999_999).whole_seconds(), 172_800);
    }
}
