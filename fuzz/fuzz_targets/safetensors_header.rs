//! The header of a safetensors file: any bytes are read or refused, and what is accepted lies
//! inside the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprat_model::files::check_header;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((data, metadata)) = check_header(bytes) {
        for (name, info) in metadata.tensors() {
            let (from, to) = info.data_offsets;
            assert!(from <= to && data + to <= bytes.len(), "{name} leaves the file");
        }
    }
});
