//! GGUF files: any bytes are read or refused, and what is accepted lies inside the file and can
//! be restored.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprat_model::files::check_gguf;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = check_gguf(bytes) {
        for tensor in header.tensors() {
            let blocks = &bytes[tensor.range.clone()];
            let elements: usize = tensor.shape.iter().product();
            assert_eq!(tensor.format.bytes_for(elements), Some(blocks.len()), "{}", tensor.name);
            tensor.format.dequantize(blocks, &mut vec![0.0; elements]);
        }
    }
});
