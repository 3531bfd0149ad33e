//! The recorded cases of `server-wire.jsonl`, as far as they are about bytes: which requests a
//! handler would see, and which status ends the connection.

use std::collections::BTreeMap;
use std::path::PathBuf;

use httpkit_core::h1::proxy::ProxyMode;
use httpkit_core::h1::{Limits, Version};
use serde_json::{Value, json};

use crate::feed::{Outcome, Request, feed_with};

fn cases() -> Vec<Value> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/server-wire.jsonl");
    let text = std::fs::read_to_string(&path).expect("the golden data of the repository");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The bytes and the pieces they are written in.
fn pieces(bytes: &Value) -> Vec<Vec<u8>> {
    match bytes {
        Value::String(text) => vec![latin1(text)],
        Value::Array(list) => list.iter().flat_map(pieces).collect(),
        Value::Object(object) => {
            if let Some(repeat) = object.get("repeat") {
                let times = repeat[1].as_u64().expect("a count") as usize;
                vec![pieces(&repeat[0]).concat().repeat(times)]
            } else if let Some(drip) = object.get("drip") {
                pieces(&drip[0]).concat().iter().map(|&b| vec![b]).collect()
            } else {
                Vec::new()
            }
        }
        _ => panic!("not bytes: {bytes}"),
    }
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(c).expect("one byte"))
        .collect()
}

fn chars(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

fn limits(server: &Value) -> Limits {
    let line = server["max-line"].as_u64().unwrap_or(8192) as usize;
    let limits = Limits::with_line(line, server["max-body"].as_u64().unwrap_or(8_388_608));
    match server.get("max-headers") {
        Some(fields) => limits.with_fields(fields.as_u64().map(|n| n as usize)),
        None => limits,
    }
}

fn mode(server: &Value) -> ProxyMode {
    match server["proxy-protocol"]["kw"].as_str() {
        Some("enable") => ProxyMode::Enable,
        Some("optional") => ProxyMode::Optional,
        _ => ProxyMode::Disable,
    }
}

/// What a request map would hold of a request, except what is not from its bytes.
fn observed(request: &Request, proxied: bool) -> Value {
    let target = chars(&request.target);
    let (uri, query) = match target.split_once('?') {
        Some((uri, query)) if !uri.is_empty() => (uri.to_owned(), Some(query.to_owned())),
        _ => (target.clone(), None),
    };
    let (name, port) = request
        .host
        .clone()
        .map_or((None, None), |(n, p)| (Some(chars(&n)), p));
    json!({
        "request-method": chars(&request.method).to_ascii_lowercase(),
        "uri": uri,
        "query-string": query,
        "server-name": name,
        "server-port": port.unwrap_or(80),
        "protocol": if request.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" },
        "websocket?": request.websocket,
        "content-length": request.body.len(),
        "body": if request.body.is_empty() { Value::Null } else { bytes_value(&request.body) },
        // A proxy's own headers are made elsewhere.
        "headers": if proxied { json!("*") } else { joined(request) },
        "header-count": request.headers.len(),
    })
}

fn bytes_value(bytes: &[u8]) -> Value {
    if bytes.len() > 600 {
        json!({"len": bytes.len(), "crc32": "*"})
    } else {
        json!(chars(bytes))
    }
}

fn joined(request: &Request) -> Value {
    let mut headers = BTreeMap::new();
    for (name, value) in &request.headers {
        let name = chars(name).to_ascii_lowercase();
        let separator = if name == "cookie" { ";" } else { "," };
        let value = chars(value);
        headers
            .entry(name)
            .and_modify(|v| *v = format!("{v}{separator}{value}"))
            .or_insert(value);
    }
    json!(headers)
}

fn defaults() -> Value {
    json!({
        "protocol": "HTTP/1.1", "websocket?": false, "body": null, "content-length": 0,
        "query-string": null, "server-name": "h", "server-port": 80, "headers": {"host": "h"},
    })
}

/// Whether two values agree, where `"*"` on either side and a shortened string agree with anything.
fn agree(expected: &Value, seen: &Value) -> bool {
    match (expected, seen) {
        (Value::String(star), _) | (_, Value::String(star)) if star == "*" => true,
        (Value::Object(a), Value::Object(b)) if a.contains_key("len") != b.contains_key("len") => {
            false
        }
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            a.contains_key("*")
                || keys.iter().all(|k| {
                    agree(
                        a.get(*k).unwrap_or(&Value::Null),
                        b.get(*k).unwrap_or(&Value::Null),
                    )
                })
        }
        (Value::String(short), Value::String(text)) if short.starts_with("len=") => {
            short[4..] == text.len().to_string()
        }
        (Value::Object(short), Value::String(text)) if short.contains_key("len") => {
            short["len"] == json!(text.len())
        }
        _ => expected == seen,
    }
}

fn request_agrees(expected: &Value, request: &Request, proxied: bool) -> bool {
    let seen = observed(request, proxied);
    let mut wanted = defaults();
    let counted = expected.get("header-count").is_some();
    for (key, value) in expected.as_object().expect("a request map") {
        wanted[key] = value.clone();
    }
    let compared = |key: &&String| seen.get(*key).is_some() && !(counted && *key == "headers");
    let wanted = wanted.as_object().expect("an object");
    wanted
        .keys()
        .filter(compared)
        .all(|key| agree(&wanted[key], &seen[key]))
}

fn outcome_agrees(expected: &Value, outcome: &Outcome) -> bool {
    let statuses = expected["responses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let last = statuses.last().and_then(|r| r["status"].as_u64());
    let ending = last.filter(|s| matches!(s, 400 | 413 | 414 | 431));
    let violation = outcome.violation.map(|v| u64::from(v.status()));
    let requests = match expected["requests"].as_array() {
        Some(requests) => {
            let pairs = requests.iter().zip(&outcome.requests);
            requests.len() == outcome.requests.len()
                && pairs
                    .into_iter()
                    .all(|(e, r)| request_agrees(e, r, outcome.proxy.is_some()))
        }
        None => true,
    };
    ending == violation && requests
}

fn acceptable(case: &Value) -> Vec<&Value> {
    let lists = ["expect_any", "also_ok"].into_iter();
    let others = lists.filter_map(|key| case[key].as_array()).flatten();
    case.get("expect").into_iter().chain(others).collect()
}

#[test]
fn recorded_bytes_give_the_recorded_requests_and_refusals() {
    let (mut played, mut failed) = (0, Vec::new());
    for case in cases() {
        let Some(send) = case.get("send") else {
            continue;
        };
        let (limits, mode) = (limits(&case["server"]), mode(&case["server"]));
        let pieces = pieces(send);
        let whole = pieces.concat();
        let arrivals = [
            pieces.iter().map(|p| &p[..]).collect::<Vec<_>>(),
            whole.chunks(1).collect(),
        ];
        for arrival in arrivals {
            let outcome = feed_with(arrival, &limits, mode);
            if !acceptable(&case)
                .iter()
                .any(|expected| outcome_agrees(expected, &outcome))
            {
                failed.push(format!("{} {}: {outcome:?}", case["id"], case["about"]));
            }
        }
        played += 1;
    }
    assert!(
        failed.is_empty(),
        "{} of {played}:\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert!(played > 200, "only {played} cases");
}
