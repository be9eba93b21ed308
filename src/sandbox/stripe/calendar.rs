//! Billing periods: an interval after a moment, as calendars have it.

use time::{Date, Month, OffsetDateTime};

/// The moment `count` intervals after `anchor` (seconds since 1970). Months that are too short end on their last day.
pub(super) fn after(anchor: i64, interval: &str, count: i64) -> i64 {
    const DAY: i64 = 86_400;
    match interval {
        "day" => anchor + count * DAY,
        "week" => anchor + count * 7 * DAY,
        "year" => months_after(anchor, count * 12),
        _ => months_after(anchor, count),
    }
}

fn months_after(anchor: i64, months: i64) -> i64 {
    let Ok(start) = OffsetDateTime::from_unix_timestamp(anchor) else { return anchor };
    let whole = i64::from(start.year()) * 12 + i64::from(u8::from(start.month())) - 1 + months;
    let year = i32::try_from(whole.div_euclid(12)).unwrap_or(start.year());
    let month = u8::try_from(whole.rem_euclid(12) + 1).ok().and_then(|month| Month::try_from(month).ok());
    let Some(month) = month else { return anchor };
    let day = start.day().min(month.length(year));
    Date::from_calendar_date(year, month, day)
        .map_or(anchor, |date| start.replace_date(date).unix_timestamp())
}

/// The first end of a period after `now`, counted from `anchor` so that short months do not shift it for good.
pub(super) fn next(anchor: i64, interval: &str, interval_count: i64, now: i64) -> i64 {
    let interval_count = interval_count.max(1);
    let mut periods = 1;
    loop {
        let end = after(anchor, interval, periods * interval_count);
        if end > now {
            return end;
        }
        periods += 1;
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_month_that_is_too_short_ends_on_its_last_day_and_the_next_is_whole_again() {
        let anchor = datetime!(2026-01-31 12:00 UTC).unix_timestamp();
        let february = datetime!(2026-02-28 12:00 UTC).unix_timestamp();
        assert_eq!(next(anchor, "month", 1, anchor), february);
        assert_eq!(next(anchor, "month", 1, february), datetime!(2026-03-31 12:00 UTC).unix_timestamp());
        assert_eq!(next(anchor, "year", 1, february), datetime!(2027-01-31 12:00 UTC).unix_timestamp());
        assert_eq!(next(anchor, "week", 2, anchor), anchor + 14 * 86_400);
    }
}
