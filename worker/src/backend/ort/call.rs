//! Calls of the library's functions in C: what they take, and what they say.

use std::ffi::{CString, c_char};

use ort::sys::OrtStatusPtr;
use ort::value::TensorElementType;

use super::onnx::Element;
use crate::backend::BackendError;

/// What a status of the library says.
///
/// # Safety
///
/// The status has just come from the library.
pub unsafe fn checked(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: as our caller promises, and it's nobody else's.
    unsafe { ort::Error::result_from_status(status) }
}

/// Names and values as C has them.
pub struct Options(Vec<(CString, CString)>);

impl Options {
    pub fn of(options: &[(&str, String)]) -> ort::Result<Options> {
        let text = |text: &str| CString::new(text).map_err(ort::Error::wrap);
        let pair = |(key, value): &(&str, String)| Ok((text(key)?, text(value)?));
        options.iter().map(pair).collect::<ort::Result<Vec<_>>>().map(Options)
    }

    /// Good for as long as this lives.
    pub fn pointers(&self) -> (Vec<*const c_char>, Vec<*const c_char>) {
        self.0.iter().map(|(key, value)| (key.as_ptr(), value.as_ptr())).unzip()
    }
}

pub fn element(element: Element) -> TensorElementType {
    match element {
        Element::Float32 => TensorElementType::Float32,
        Element::Uint8 => TensorElementType::Uint8,
        Element::Int8 => TensorElementType::Int8,
        Element::Int32 => TensorElementType::Int32,
        Element::Int64 => TensorElementType::Int64,
        Element::Float16 => TensorElementType::Float16,
    }
}

/// The library's errors as ours. Those of memory are told by their words, for they have no code of their own.
pub fn failed<R>(error: ort::Error<R>) -> BackendError {
    said(error.to_string())
}

fn said(message: String) -> BackendError {
    let lower = message.to_lowercase();
    if MEMORY.iter().any(|words| lower.contains(words)) {
        BackendError::OutOfMemory(message)
    } else {
        BackendError::Failed(message)
    }
}

/// What allocators say: C++'s, ONNX Runtime's arena, CUDA's ("CUDA failure 2: out of memory") and cuBLAS's.
const MEMORY: [&str; 9] = [
    "bad_alloc",
    "failed to allocate",
    "out of memory",
    "cannot allocate",
    "bad allocation",
    "is smaller than requested bytes",
    "cuda failure 2:",
    "cublas_status_alloc_failed",
    "cublas failure 3:",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_ran_out_is_told_by_its_words() {
        let of = |words: &str| said(words.to_owned());
        for words in [
            "Non-zero status code returned while running FusedMatMul node. Name:'FusedMatMul_7' Status Message: \
             /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* \
             onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for \
             requested buffer of size 4294967296",
            "bfc_arena.cc:360 Available memory of 1048576 is smaller than requested bytes of 4194304",
            "CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; file=cuda_allocator.cc ; line=74 ; expr=cudaMalloc",
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; expr=cublasCreate(&cublas_handle_)",
        ] {
            assert!(matches!(of(words), BackendError::OutOfMemory(_)), "{words}");
        }
        for words in
            ["CUDA failure 700: an illegal memory access was encountered", "CUDA failure 209: no image"]
        {
            assert!(matches!(of(words), BackendError::Failed(_)), "{words}");
        }
    }
}
