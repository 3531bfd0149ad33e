#!/usr/bin/env python3
"""Reads a native library of any platform, and says what is wrong with it: inspect.py [--here] <file> <platform>

Prints one line that sums it up, or the faults, and then ends with 1. The platform is a directory's name in the jar,
such as linux-x86_64-musl. --here: a library that `./dev jar` made, which may need the glibc of this machine.
"""
import hashlib
import os
import re
import struct
import sys

MOST_BYTES = 3_200_000
OLDEST_GLIBC = (2, 17)
OLDEST_MACOS = (11, 0)
ENTRIES = {"JNI_OnLoad", "JNI_OnUnload"}
# zig's linker for macOS takes no list of exports. What Rust's standard library and the linker leave visible is harmless
# there: programs look up a symbol in the library that they were linked with.
VISIBLE_ON_MACOS = re.compile(r"rust_eh_personality|__dso_handle|_mh_dylib_header|_RNv\w*3std9panicking11EMPTY_PANIC")
GLIBC_LIBRARIES = re.compile(r"(libc|libm|libdl|libpthread|librt)\.so\.\d+|ld-linux-(x86-64|aarch64)\.so\.\d|libgcc_s\.so\.1")
MUSL_LIBRARIES = re.compile(r"libc(\.musl-\w+)?\.so(\.1)?")
WINDOWS_LIBRARIES = re.compile(
    r"(kernel32|ntdll|ws2_32|bcrypt|bcryptprimitives|advapi32|userenv|api-ms-win-(crt|core)-[a-z0-9-]+)\.dll", re.I)
UNSIGNED = "it is not signed"
MACHINES = {("elf", 62): "x86_64", ("elf", 183): "aarch64", ("macho", 0x01000007): "x86_64",
            ("macho", 0x0100000C): "aarch64", ("pe", 0x8664): "x86_64"}


def text_at(data, at):
    return data[at:data.index(b"\0", at)].decode()


class Elf:
    def __init__(self, data):
        self.machine = struct.unpack_from("<H", data, 18)[0]
        at, = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)
        sections = [struct.unpack_from("<IIQQQQIIQQ", data, at + n * size) for n in range(count)]
        by_kind = {section[1]: section for section in sections}
        dynamic, symbols = by_kind[6], by_kind[11]
        names = sections[symbols[6]][4]
        entries = struct.iter_unpack("<qQ", data[dynamic[4]:dynamic[4] + dynamic[5]])
        self.needed = [text_at(data, sections[dynamic[6]][4] + value) for tag, value in entries if tag == 1]
        self.exported = set()
        for n in range(1, symbols[5] // 24):
            name, info, _, section = struct.unpack_from("<IBBH", data, symbols[4] + n * 24)
            if section and info >> 4 in (1, 2):
                self.exported.add(text_at(data, names + name))
        self.glibc = {tuple(map(int, v.split(b"."))) for v in re.findall(rb"GLIBC_(2\.[0-9.]*[0-9])\0", data)}

    def faults(self, platform, here):
        musl = platform.endswith("-musl")
        allowed = MUSL_LIBRARIES if musl else GLIBC_LIBRARIES
        for name in self.needed:
            if not allowed.fullmatch(name):
                yield f"it needs {name}"
        if musl and self.glibc:
            yield f"it has symbols of glibc {sorted(self.glibc)}"
        if not musl and not here and max(self.glibc) > OLDEST_GLIBC:
            yield f"it needs glibc {max(self.glibc)}"

    def summary(self):
        newest = "glibc " + ".".join(map(str, max(self.glibc))) if self.glibc else "musl"
        return f"{newest}; needs {' '.join(self.needed)}"


class MachO:
    def __init__(self, data):
        _, self.machine, _, kind, count = struct.unpack_from("<IIIII", data)
        self.is_library = kind == 6
        self.needed, self.exported = [], set()
        self.name = self.oldest = None
        self.signature = UNSIGNED
        at = 32
        for _ in range(count):
            command, size = struct.unpack_from("<II", data, at)
            if command in (0xC, 0xD, 0x80000018, 0x8000001F):
                name = text_at(data, at + struct.unpack_from("<I", data, at + 8)[0])
                if command == 0xD:
                    self.name = name
                else:
                    self.needed.append(name)
            elif command == 0x32:
                version, = struct.unpack_from("<I", data, at + 12)
                self.oldest = (version >> 16, version >> 8 & 255)
            elif command == 0x2:
                self.read_symbols(data, *struct.unpack_from("<III", data, at + 8))
            elif command == 0x1D:
                self.signature = self.check_signature(data, struct.unpack_from("<I", data, at + 8)[0])
            at += size

    def read_symbols(self, data, at, count, names):
        for n in range(count):
            name, kind = struct.unpack_from("<IB", data, at + n * 16)
            # Visible outside, defined in a section; no debugging entry, and not private.
            if kind & 0xE0 == 0 and kind & 0x11 == 1 and kind & 0xE == 0xE:
                symbol = text_at(data, names + name).removeprefix("_")
                if not VISIBLE_ON_MACOS.fullmatch(symbol):
                    self.exported.add(symbol)

    @staticmethod
    def check_signature(data, at):
        """None if each page has the hash that the code directory says, else what is wrong."""
        blobs, = struct.unpack_from(">I", data, at + 8)
        for n in range(blobs):
            slot, offset = struct.unpack_from(">II", data, at + 12 + n * 8)
            if slot == 0:
                break
        else:
            return "its signature has no code directory"
        start = at + offset
        flags, hashes, _, _, pages, limit = struct.unpack_from(">IIIIII", data, start + 12)
        length, algorithm, _, page_bits = struct.unpack_from("BBBB", data, start + 36)
        if not flags & 2:
            return "its signature is not ad hoc"
        if algorithm != 2:
            return f"its signature has hashes of kind {algorithm}"
        for n in range(pages):
            page = data[n << page_bits:min((n + 1) << page_bits, limit)]
            said = data[start + hashes + n * length:start + hashes + (n + 1) * length]
            if hashlib.sha256(page).digest()[:length] != said:
                return f"page {n} does not have the hash in its signature"
        return None if pages << page_bits >= limit else "its signature does not cover it"

    def faults(self, platform, here):
        if not self.is_library:
            yield "it is no dylib"
        if self.oldest != OLDEST_MACOS:
            yield f"its oldest macOS is {self.oldest}"
        if self.name != "@rpath/libhttpkit.dylib":
            yield f"its install name is {self.name}"
        for name in self.needed:
            if not name.startswith(("/usr/lib/", "/System/Library/")):
                yield f"it needs {name}"
        # An ARM Mac kills a process that loads an unsigned library.
        if self.signature and not (platform == "macos-x86_64" and self.signature == UNSIGNED):
            yield self.signature

    def summary(self):
        return f"macOS {'.'.join(map(str, self.oldest))}; signed ad hoc; needs {' '.join(self.needed)}"


class Pe:
    def __init__(self, data):
        at, = struct.unpack_from("<I", data, 0x3C)
        self.machine, sections = struct.unpack_from("<HH", data, at + 4)
        optional, = struct.unpack_from("<H", data, at + 20)
        self.sections = [struct.unpack_from("<IIII", data, at + 24 + optional + n * 40 + 8) for n in range(sections)]
        directories = [struct.unpack_from("<II", data, at + 24 + 112 + n * 8)[0] for n in range(14)]
        self.exported = self.read_exports(data, directories[0])
        self.needed = list(self.read_imports(data, directories[1], 20, 12))
        if directories[13]:
            self.needed += self.read_imports(data, directories[13], 32, 4)

    def offset(self, address):
        for size, start, raw, where in self.sections:
            if start <= address < start + max(size, raw):
                return where + address - start
        raise ValueError(f"no section has {address:#x}")

    def read_exports(self, data, address):
        table = self.offset(address)
        count, = struct.unpack_from("<I", data, table + 24)
        names = self.offset(struct.unpack_from("<I", data, table + 32)[0])
        return {text_at(data, self.offset(struct.unpack_from("<I", data, names + n * 4)[0])) for n in range(count)}

    def read_imports(self, data, address, size, at_name):
        at = self.offset(address)
        while any(data[at:at + size]):
            yield text_at(data, self.offset(struct.unpack_from("<I", data, at + at_name)[0]))
            at += size

    def faults(self, platform, here):
        for name in self.needed:
            if not WINDOWS_LIBRARIES.fullmatch(name):
                yield f"it needs {name}"

    def summary(self):
        return f"needs {' '.join(sorted(name.lower() for name in self.needed))}"


def paths_of_this_machine(data):
    """What must not be in a library: it would differ from that of another machine, and tells who built it."""
    home = os.path.expanduser("~")
    for path in {os.getcwd(), home if home != "/" else os.getcwd()}:
        found = re.search(re.escape(path.encode()) + rb"/[ -~]*", data)
        if found:
            yield f"it has a path of this machine: {found.group().decode()[:100]}"


def main():
    here = sys.argv[1] == "--here"
    file, platform = sys.argv[2:4] if here else sys.argv[1:3]
    with open(file, "rb") as opened:
        data = opened.read()
    kind, system, reader = (("elf", "linux", Elf) if data.startswith(b"\x7fELF")
                            else ("macho", "macos", MachO) if data.startswith(b"\xcf\xfa\xed\xfe")
                            else ("pe", "windows", Pe))
    library = reader(data)
    faults = list(library.faults(platform, here)) + list(paths_of_this_machine(data))
    found = f"{system}-{MACHINES.get((kind, library.machine))}"
    if found != platform.removesuffix("-musl"):
        faults.append(f"it is for {found}")
    if "JNI_OnLoad" not in library.exported or library.exported - ENTRIES:
        faults.append(f"it exports {sorted(library.exported)[:20]}")
    if len(data) > MOST_BYTES:
        faults.append(f"it has {len(data)} bytes, more than {MOST_BYTES}")
    for fault in faults:
        print(f"{platform}: {fault}")
    if not faults:
        print(f"{platform}: {len(data)} bytes, {library.summary()}")
    sys.exit(1 if faults else 0)


main()
