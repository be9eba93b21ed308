//! Days of the calendar, in UTC: what reports are cut by.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{Date, macros::format_description};

use super::time::Timestamp;

/// A day of the years 1970 to 9999, in UTC. Written as `2026-01-31`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Day(Date);

impl Day {
    /// The first day that there is.
    pub const FIRST: Self = Self(time::macros::date!(1970 - 01 - 01));
    /// The last one.
    pub const LAST: Self = Self(time::macros::date!(9999 - 12 - 31));

    /// The day, if it is one of those years.
    pub fn new(date: Date) -> Option<Self> {
        (Self::FIRST.0..=Self::LAST.0).contains(&date).then_some(Self(date))
    }

    /// Reads `2026-01-31`.
    pub fn parse(text: &str) -> Option<Self> {
        Date::parse(text, format_description!("[year]-[month]-[day]")).ok().and_then(Self::new)
    }

    /// The day of a moment.
    pub fn of(moment: Timestamp) -> Self {
        Self(moment.to_datetime().date())
    }

    /// The day that so many days later is; the last one, if there is none.
    pub fn plus_days(self, days: u32) -> Self {
        let later = self.0.checked_add(time::Duration::days(days.into()));
        later.and_then(Self::new).unwrap_or(Self::LAST)
    }

    /// The same as the date type of the PostgreSQL library.
    pub fn to_date(self) -> Date {
        self.0
    }

    /// The last day of its month.
    pub fn end_of_month(self) -> Self {
        let days = self.0.month().length(self.0.year());
        Self(self.0.replace_day(days).unwrap_or(self.0))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        write!(formatter, "{year:04}-{:02}-{day:02}", u8::from(month))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("is no day, such as 2026-01-31"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_reads_back_and_knows_its_month() {
        let day = Day::parse("2028-02-03").expect("a day");
        assert_eq!(day.to_string(), "2028-02-03");
        assert_eq!(day.end_of_month().to_string(), "2028-02-29");
        assert_eq!(day.plus_days(27).to_string(), "2028-03-01");
        assert_eq!(day.plus_days(u32::MAX), Day::LAST);
        assert_eq!(Day::of(Timestamp::default()), Day::FIRST);
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in ["", "2026-02-30", "2026-2-3", "1969-12-31", "2026-01-01T00:00:00Z", "+12026-01-01"] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }
}
