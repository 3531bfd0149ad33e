//! Shared by downcalls and upcalls: numbers, handles, arrays, errors.

pub(crate) mod abi;
pub(crate) mod allocated;
pub(crate) mod arrays;
pub(crate) mod error;
pub(crate) mod faults;
pub(crate) mod fields;
pub(crate) mod handle;
#[cfg_attr(windows, path = "platform_windows.rs")]
pub(crate) mod platform;
