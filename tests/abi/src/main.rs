//! `abi-header <rust file> <header>`: the constants of a Rust file as C.

use std::process::ExitCode;

use cbindgen::{Builder, Language};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, source, header] = &args[..] else {
        eprintln!("usage: abi-header <rust file> <header>");
        return ExitCode::from(2);
    };
    let generated = Builder::new()
        .with_language(Language::C)
        .with_include_guard("HTTPKIT_ABI_H")
        .with_src(source)
        .generate();
    match generated {
        Ok(bindings) => {
            bindings.write_to_file(header);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("abi-header: {error}");
            ExitCode::FAILURE
        }
    }
}
