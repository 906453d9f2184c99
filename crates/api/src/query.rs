//! Reading query strings.

use std::fmt;
use std::str::FromStr;

use crate::error::Problem;
use crate::headers::decimal;
use crate::percent;

/// A parameter's value as a number within bounds.
pub(crate) fn number<T>(name: &str, text: &str, least: T, most: T) -> Result<T, Problem>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    decimal(text)
        .filter(|number| (&least..=&most).contains(&number))
        .ok_or_else(|| Problem::invalid(format!("{name}: {text:?} is not a number from {least} to {most}")))
}

/// Names and values of a query string, decoded; each name once.
pub(crate) fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let decode = |text: &str| {
        let bytes = percent::decode(text.replace('+', " ").as_bytes())
            .map_err(|error| Problem::invalid(format!("query: {error}")))?;
        String::from_utf8(bytes).map_err(|_| Problem::invalid("the query is not UTF-8"))
    };
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if pairs.iter().any(|(earlier, _)| *earlier == name) {
            return Err(Problem::invalid(format!("the parameter {name:?} is given twice")));
        }
        // Every endpoint has fewer, so a long query is refused before it is compared pair by pair.
        if pairs.len() == 16 {
            return Err(Problem::invalid("the query has too many parameters"));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}
