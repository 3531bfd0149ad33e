//! What `h1` does with a peer's bytes, from outside: tables of the contract, and properties.

mod body;
mod feed;
mod golden;
mod head;
mod proxy;
mod response;
mod smuggling;
