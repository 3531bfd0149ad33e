//! The headers of one response, kept as ranges into one buffer.

use std::collections::HashMap;
use std::ops::Range;

/// Above this many fields, repeats are found by hash: a hostile peer can send about 16,000 fields, and comparing each
/// pair would take seconds.
const SMALL: usize = 24;

#[derive(Clone, Debug)]
struct Field {
    name: Range<u32>,
    value: Range<u32>,
}

/// Whether a comma-separated list holds `token`, in any case.
pub(super) fn lists(value: &[u8], token: &str) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Header fields in order of arrival; names are lower-case ASCII, values are
/// trimmed raw bytes (ISO-8859-1).
#[derive(Clone, Debug, Default)]
pub struct Headers {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

impl Headers {
    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) {
        let name_start = self.bytes.len() as u32;
        self.bytes.extend(name.iter().map(u8::to_ascii_lowercase));
        let value_start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.fields.push(Field {
            name: name_start..value_start,
            value: value_start..self.bytes.len() as u32,
        });
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// All fields in order of arrival, repeats not joined.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .map(|field| (self.slice(&field.name), self.slice(&field.value)))
    }

    /// The values of `name` (lower case) in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(key, _)| *key == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// The value of `name`, repeats joined by line feeds.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let mut values = self.all(name);
        let mut joined = values.next()?.to_vec();
        for value in values {
            joined.push(b'\n');
            joined.extend_from_slice(value);
        }
        Some(joined)
    }

    /// Whether the comma-separated lists of `name` hold `token`, in any case.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).any(|value| lists(value, token))
    }

    /// Appends the block that the embedder reads: u16 count, then u16 name length, u16 value length, name, value;
    /// little endian, repeats joined by line feeds at the position of the first one.
    ///
    /// The limit on heads keeps every length within 16 bits.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let groups = self.groups();
        out.extend_from_slice(&(groups.len() as u16).to_le_bytes());
        for group in groups {
            let name = self.slice(&self.fields[group[0]].name);
            let values = group.iter().map(|at| self.slice(&self.fields[*at].value));
            let length = values.clone().map(|value| value.len() + 1).sum::<usize>() - 1;
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(&(length as u16).to_le_bytes());
            out.extend_from_slice(name);
            for (nth, value) in values.enumerate() {
                if nth > 0 {
                    out.push(b'\n');
                }
                out.extend_from_slice(value);
            }
        }
    }

    fn groups(&self) -> Vec<Vec<usize>> {
        if self.fields.len() <= SMALL {
            self.groups_by_scan()
        } else {
            self.groups_by_hash()
        }
    }

    fn groups_by_scan(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::with_capacity(self.fields.len());
        for (at, field) in self.fields.iter().enumerate() {
            let name = self.slice(&field.name);
            let known = groups
                .iter_mut()
                .find(|group| self.slice(&self.fields[group[0]].name) == name);
            match known {
                Some(group) => group.push(at),
                None => groups.push(vec![at]),
            }
        }
        groups
    }

    fn groups_by_hash(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut index = HashMap::new();
        for (at, field) in self.fields.iter().enumerate() {
            let next = groups.len();
            let group = *index.entry(self.slice(&field.name)).or_insert(next);
            if group == next {
                groups.push(Vec::new());
            }
            groups[group].push(at);
        }
        groups
    }
}
