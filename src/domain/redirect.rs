//! Where a checkout may lead its buyer back to. Whoever could choose freely would have a shop's own payment page send
//! people anywhere.

use std::collections::BTreeSet;

/// The longest address, in bytes: what Stripe takes.
const LONGEST: usize = 5_000;

/// Hosts of this machine: the only ones that may be reached without encryption.
const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

/// Checks an address against the hosts that are allowed.
///
/// It is read strictly, because browsers and this function have to agree on what its host is: nothing but
/// `https://host[:port][/…]`, or `http://` on this machine, in printable ASCII.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the name of the field.
pub fn check(address: &str, hosts: &BTreeSet<String>) -> Result<(), &'static str> {
    if address.len() > LONGEST || !address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err("must be an address in printable ASCII of at most 5000 characters");
    }
    let (is_encrypted, rest) = match (address.strip_prefix("https://"), address.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err("must begin with https://"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let is_host = |host: &str| {
        !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    };
    if !is_host(host) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("must name a host, and nothing but a port behind it");
    }
    let host = host.to_ascii_lowercase();
    if !is_encrypted && !LOCAL.contains(&host.as_str()) {
        return Err("must begin with https://");
    }
    if hosts.contains(&host) { Ok(()) } else { Err("leads to a host that the ledger does not allow") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_the_list_are_led_to_and_only_by_addresses_that_everyone_reads_alike() {
        let hosts = ["shop.example", "localhost"].map(str::to_owned).into();
        for address in [
            "https://shop.example",
            "https://shop.example/thanks?session={CHECKOUT_SESSION_ID}#top",
            "https://SHOP.example:8443/a",
            "http://localhost:3000/back",
            "https://localhost",
        ] {
            assert_eq!(check(address, &hosts), Ok(()), "{address}");
        }
        let longest = format!("{:a<LONGEST$}", "https://shop.example/");
        assert_eq!(check(&longest, &hosts), Ok(()));
        let long = format!("{longest}a");
        for (address, problem) in [
            ("https://evil.example/shop.example", "leads to"),
            ("https://shop.example.evil.example", "leads to"),
            ("https://127.0.0.1", "leads to"),
            ("http://shop.example", "must begin"),
            ("javascript:alert(1)", "must begin"),
            ("//shop.example", "must begin"),
            ("", "must begin"),
            ("https://shop.example@evil.example", "must name"),
            ("https://shop.example:80@evil.example", "must name"),
            ("https://shop.example:99999", "must name"),
            ("https://", "must name"),
            ("https:///shop.example", "must name"),
            ("https://shop.example\\@evil.example", "must be an address"),
            ("https://shop.example/ ", "must be an address"),
            ("https://shop.example/\u{fc}", "must be an address"),
            (&long, "must be an address"),
        ] {
            let found = check(address, &hosts).expect_err(address);
            assert!(found.starts_with(problem), "{address}: {found}");
        }
    }
}
