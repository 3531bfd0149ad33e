//! Fields packed into one array, one after the other, numbers little endian.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::error::{BridgeError, Result};

fn malformed(what: &str) -> BridgeError {
    BridgeError::Argument(format!("malformed call: {what}"))
}

/// Reads fields from the front of a slice.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self
            .0
            .split_at_checked(n)
            .ok_or_else(|| malformed("it is too short"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// UTF-8 after a two-byte length.
    pub(crate) fn string(&mut self) -> Result<String> {
        let length = usize::from(self.u16()?);
        let text = std::str::from_utf8(self.bytes(length)?);
        text.map(str::to_owned).map_err(|_| malformed("not UTF-8"))
    }

    /// Bytes after a four-byte length.
    pub(crate) fn long_bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        self.bytes(length)
    }

    /// A two-byte count, then that many [`Self::long_bytes`].
    pub(crate) fn list(&mut self) -> Result<Vec<Vec<u8>>> {
        let count = self.u16()?;
        (0..count)
            .map(|_| self.long_bytes().map(<[u8]>::to_vec))
            .collect()
    }

    /// An address as written by [`push_address`], and by `AddressRecord` in Java.
    pub(crate) fn address(&mut self) -> Result<SocketAddr> {
        match self.u8()? {
            4 => {
                let ip = IpAddr::from(self.array::<4>()?);
                Ok(SocketAddr::new(ip, self.u16()?))
            }
            16 => {
                let ip = self.array::<16>()?.into();
                let scope = self.u32()?;
                Ok(SocketAddrV6::new(ip, self.u16()?, 0, scope).into())
            }
            _ => Err(malformed("unknown kind of address")),
        }
    }

    pub(crate) fn end(&self) -> Result<()> {
        match self.0 {
            [] => Ok(()),
            _ => Err(malformed("it is too long")),
        }
    }
}

pub(crate) fn unknown<T>(what: &str) -> Result<T> {
    Err(malformed(&format!("unknown {what}")))
}

/// An address: the number of its octets, the octets, for IPv6 the scope, and the port.
pub(crate) fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            let scope = match address {
                SocketAddr::V6(address) => address.scope_id(),
                SocketAddr::V4(_) => 0,
            };
            out.push(16);
            out.extend_from_slice(&ip.octets());
            out.extend_from_slice(&scope.to_le_bytes());
        }
    }
    out.extend_from_slice(&address.port().to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_written() {
        for text in ["127.0.0.1:80", "[::1]:8080", "[fe80::1%7]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut record = Vec::new();
            push_address(&mut record, address);
            let mut fields = Fields(&record);
            assert_eq!(fields.address().unwrap(), address, "{text}");
            assert!(fields.end().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_mapped_address_is_written_as_what_it_stands_for() {
        let mut record = Vec::new();
        push_address(&mut record, "[::ffff:10.0.0.1]:258".parse().unwrap());
        assert_eq!(record, [4, 10, 0, 0, 1, 2, 1]);
    }
}
