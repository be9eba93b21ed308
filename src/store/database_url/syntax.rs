//! The two notations of a database address, taken apart into named parameters.
//!
//! Both notations are those of libpq: `postgres://user:password@host:port,host:port/database?name=value`
//! and `name=value name='quoted value'`. This module knows nothing about what a parameter means.
//!
//! Invariant: no error repeats a piece of the text, because a password with an unescaped character may have
//! been taken for any other part.

use super::DatabaseUrlError;

/// One `name=value` of an address, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) value: String,
}

impl Parameter {
    fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}

/// Takes an address in either notation apart.
///
/// # Errors
///
/// When the text is neither notation, or a part of it cannot be decoded.
pub(super) fn parameters(text: &str) -> Result<Vec<Parameter>, DatabaseUrlError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(DatabaseUrlError::Empty);
    }
    match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
        Some(rest) => url_parameters(rest),
        None if text.contains("://") => Err(DatabaseUrlError::Scheme),
        None => key_value_parameters(text),
    }
}

fn url_parameters(text: &str) -> Result<Vec<Parameter>, DatabaseUrlError> {
    let authority_end = text.find(['/', '?']).unwrap_or(text.len());
    let (authority, rest) = text.split_at(authority_end);
    if rest.contains('@') {
        return Err(DatabaseUrlError::UnescapedAt);
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));

    let mut found = Vec::new();
    let hosts = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => {
            credential_parameters(credentials, &mut found)?;
            hosts
        }
        None => authority,
    };
    host_parameters(hosts, &mut found)?;
    let database = path.strip_prefix('/').unwrap_or(path);
    if !database.is_empty() {
        found.push(Parameter::new("dbname", decode("dbname", database)?));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(DatabaseUrlError::ParameterWithoutValue)?;
        found.push(Parameter::new(&decode("parameter name", name)?, decode(name, value)?));
    }
    Ok(found)
}

fn credential_parameters(text: &str, found: &mut Vec<Parameter>) -> Result<(), DatabaseUrlError> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    if !user.is_empty() {
        found.push(Parameter::new("user", decode("user", user)?));
    }
    if let Some(password) = password {
        found.push(Parameter::new("password", decode("password", password)?));
    }
    Ok(())
}

/// Hosts and ports become two comma-separated lists of equal length, as in the other notation.
fn host_parameters(text: &str, found: &mut Vec<Parameter>) -> Result<(), DatabaseUrlError> {
    if text.is_empty() {
        return Ok(());
    }
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for entry in text.split(',') {
        let (host, port) = split_port(entry)?;
        hosts.push(decode("host", host)?);
        ports.push(port);
    }
    found.push(Parameter::new("host", hosts.join(",")));
    if ports.iter().any(|port| !port.is_empty()) {
        found.push(Parameter::new("port", ports.join(",")));
    }
    Ok(())
}

fn split_port(entry: &str) -> Result<(&str, &str), DatabaseUrlError> {
    if let Some(rest) = entry.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(DatabaseUrlError::UnclosedBracket)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if after.is_empty() => Ok((host, "")),
            None => Err(DatabaseUrlError::UnclosedBracket),
        };
    }
    Ok(entry.split_once(':').unwrap_or((entry, "")))
}

fn decode(part: &str, text: &str) -> Result<String, DatabaseUrlError> {
    let malformed = || DatabaseUrlError::PercentEncoding { part: part.to_owned() };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digits = after.get(..2).ok_or_else(malformed)?;
        let digits = std::str::from_utf8(digits).map_err(|_| malformed())?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| malformed())?);
        rest = &after[2..];
    }
    let decoded = String::from_utf8(bytes).map_err(|_| malformed())?;
    if decoded.contains('\0') { Err(malformed()) } else { Ok(decoded) }
}

fn key_value_parameters(text: &str) -> Result<Vec<Parameter>, DatabaseUrlError> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(DatabaseUrlError::KeyWithoutValue)?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(DatabaseUrlError::KeyWithoutValue);
        }
        let (value, after) = take_value(after.trim_start())?;
        found.push(Parameter::new(name, value));
        rest = after.trim_start();
    }
    Ok(found)
}

/// Reads one value, quoted or not, and returns it with what follows.
fn take_value(text: &str) -> Result<(String, &str), DatabaseUrlError> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped)) => value.push(escaped),
                None => return Err(DatabaseUrlError::UnclosedQuote),
            },
            '\'' if quoted => return Ok((value, &body[index + 1..])),
            blank if !quoted && blank.is_whitespace() => return Ok((value, &body[index..])),
            other => value.push(other),
        }
    }
    if quoted { Err(DatabaseUrlError::UnclosedQuote) } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_apart(text: &str) -> Vec<(String, String)> {
        let found = parameters(text).expect("a well-formed address");
        found.into_iter().map(|parameter| (parameter.name, parameter.value)).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_url_is_taken_apart_and_decoded() {
        assert_eq!(
            taken_apart(
                "postgres://us%20er:p%40ss%3A@one:5433,[::1]:5434,%2Frun%2Fpg/ledger?sslmode=require"
            ),
            pairs(&[
                ("user", "us er"),
                ("password", "p@ss:"),
                ("host", "one,::1,/run/pg"),
                ("port", "5433,5434,"),
                ("dbname", "ledger"),
                ("sslmode", "require"),
            ])
        );
    }

    #[test]
    fn every_part_of_a_url_may_be_missing() {
        assert_eq!(taken_apart("postgresql://"), pairs(&[]));
        assert_eq!(taken_apart("postgresql:///ledger"), pairs(&[("dbname", "ledger")]));
        assert_eq!(
            taken_apart("postgres://host?pgbouncer=true"),
            pairs(&[("host", "host"), ("pgbouncer", "true")])
        );
    }

    #[test]
    fn key_value_text_knows_quotes_escapes_and_spaces_around_the_sign() {
        assert_eq!(
            taken_apart(r"host = one,two  password='it\'s a \\ secret' dbname=led\ ger user=''"),
            pairs(&[
                ("host", "one,two"),
                ("password", r"it's a \ secret"),
                ("dbname", "led ger"),
                ("user", "")
            ])
        );
    }

    #[test]
    fn malformed_text_is_refused_without_repeating_it() {
        for text in [
            "",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2/x@h/d",
            "postgres://u:hunter2?x=y@h/d",
            "postgres://u:%zzhunter2@h/d",
            "postgres://u:hunter2%4@h/d",
            "postgres://u:%00hunter2@h/d",
            "postgres://[::1/hunter2",
            "postgres://h/d?hunter2",
            "host=h password='hunter2",
            "hunter2",
            "host=h hunter2",
            "password=hunter2\\",
        ] {
            let error = parameters(text).expect_err(text);
            assert!(!error.to_string().contains("hunter2"), "{text}: {error}");
        }
    }
}
