//! What can be seen from inside only. The rules are in `tests/ws`.

use super::*;

#[test]
fn accept_key_is_that_of_the_rfc() {
    assert_eq!(
        accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}
