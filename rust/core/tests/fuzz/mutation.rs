//! Inputs made of seeds: changed, cut, repeated and joined at random.

/// What the grammars give a meaning to.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"\0",
    b"\xff",
    b"0",
    b"-1",
    b"ffffffffffffffff",
    b"18446744073709551616",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Host: h\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x81\x85\0\0\0\0",
    b"\x88\x80\0\0\0\0",
];
const MOST: usize = 8192;

pub struct Mutator {
    state: u64,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        Self {
            state: seed | 1,
            seeds,
        }
    }

    /// The next input.
    pub fn next(&mut self) -> Vec<u8> {
        let mut input = self.seed();
        for _ in 0..1 + self.below(6) {
            self.change(&mut input);
        }
        input.truncate(MOST);
        input
    }

    /// A number below `end`, which is at least 1 (xorshift).
    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % end
    }

    fn seed(&mut self) -> Vec<u8> {
        let n = self.below(self.seeds.len());
        self.seeds[n].clone()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(64)).min(input.len());
        match self.below(8) {
            0 => {
                let byte = self.below(256) as u8;
                input[at..end.min(at + 1)].fill(byte);
            }
            1 => {
                let bit = 1 << self.below(8);
                input[at..end.min(at + 1)]
                    .iter_mut()
                    .for_each(|b| *b ^= bit);
            }
            2 => drop(input.drain(at..end)),
            3 => input.truncate(at),
            4 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            5 | 6 => {
                let token = TOKENS[self.below(TOKENS.len())];
                input.splice(at..at, token.iter().copied());
            }
            _ => {
                let other = self.seed();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}
