//! The error codes of this crate.

use sprat_task::{Code, Kind};

macro_rules! codes {
    ($($name:ident, $id:literal, $kind:ident, $summary:literal, $remedy:literal;)*) => {
        $(
            #[doc = $summary]
            pub static $name: Code =
                Code { id: $id, kind: Kind::$kind, summary: $summary, remedy: $remedy };
        )*
        /// Every code of this crate.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    READ, "SPRAT-MODEL-READ", Failed,
        "A file of a model could not be read.",
        "Check that the file exists and that you may read it; pull the model again if it was cut off.";
    WRITE, "SPRAT-MODEL-WRITE", Failed,
        "A file of a model could not be written.",
        "Check free space and permissions of the folder.";
    MISSING_FILE, "SPRAT-MODEL-MISSING-FILE", Failed,
        "A model folder lacks a file that is needed.",
        "A model folder holds `config.json`, `tokenizer.json` and `model.safetensors`; pull it again.";
    HEADER, "SPRAT-MODEL-HEADER", Failed,
        "A safetensors file is damaged: its header does not describe the file.",
        "The file was cut off or is no safetensors file; pull or convert the model again.";
    GGUF, "SPRAT-MODEL-GGUF", Failed,
        "A GGUF file is damaged: its header does not describe the file.",
        "The file was cut off, is no GGUF file or was written wrongly; pull or convert the model again.";
    GGUF_VERSION, "SPRAT-MODEL-GGUF-VERSION", Failed,
        "A GGUF file is of a version or kind that is not supported.",
        "Versions 2 and 3, little-endian and in one file, are read; convert the model again.";
    GGUF_FORMAT, "SPRAT-MODEL-GGUF-FORMAT", Failed,
        "A tensor of a GGUF file has a number format that is not supported.",
        "Use a file of the same model in one of the formats that the message lists.";
    GGUF_KEY, "SPRAT-MODEL-GGUF-KEY", Failed,
        "The metadata of a GGUF file lacks an entry that is needed, or it has another type.",
        "The model was converted incompletely or for another program; convert it again.";
    MISSING_TENSOR, "SPRAT-MODEL-MISSING-TENSOR", Failed,
        "A weights file lacks a tensor that the architecture needs.",
        "Check that `config.json` belongs to these weights.";
    DTYPE, "SPRAT-MODEL-DTYPE", Failed,
        "A tensor has a number format that cannot be read in its place.",
        "Weights may be F32, F16 or BF16; convert the model to one of these.";
    SHAPE, "SPRAT-MODEL-SHAPE", Failed,
        "A tensor has another shape than the architecture needs.",
        "Check that `config.json` belongs to these weights.";
    VALUES, "SPRAT-MODEL-VALUES", Failed,
        "A weight is not a finite number.",
        "The weights are damaged or their training diverged; use another copy.";
    BUDGET, "SPRAT-MODEL-BUDGET", Usage,
        "A size budget is less than what a model's smallest formats take.",
        "Raise `shrink.bits`.";
    CONFIG, "SPRAT-MODEL-CONFIG", Failed,
        "A configuration file of a model is wrong.",
        "Take the file from the model's own repository.";
    FAMILY, "SPRAT-MODEL-FAMILY", Failed,
        "The model's architecture is not supported.",
        "Choose a model of a supported family.";
    POOLING, "SPRAT-MODEL-POOLING", Failed,
        "The model's way of pooling tokens into one embedding is not supported.",
        "Choose a model that pools by cls, mean or last token.";
    TOKENIZER, "SPRAT-MODEL-TOKENIZER", Failed,
        "The tokenizer could not be loaded or does not fit the model.",
        "Take `tokenizer.json` from the model's own repository.";
    VOCABULARY, "SPRAT-MODEL-VOCABULARY", Failed,
        "The tokenizer in a GGUF file is damaged or of an unknown kind.",
        "Download the file again, or use one whose tokenizer is byte-level BPE or SentencePiece.";
    TEMPLATE, "SPRAT-MODEL-TEMPLATE", Failed,
        "A model's chat template is wrong, or uses something that is not there.",
        "Take the template from the model's own repository, or write one that needs less.";
    TEMPLATE_LIMIT, "SPRAT-MODEL-TEMPLATE-LIMIT", Failed,
        "A model's chat template worked too long, or its result is too long.",
        "Shorten the conversation; if that does not help, the template does not end.";
    CONVERSATION, "SPRAT-MODEL-CONVERSATION", Usage,
        "The messages of a conversation do not suit the model's chat template.",
        "Send messages with a role and a content, in an order that the model knows.";
    ADAPTER, "SPRAT-MODEL-ADAPTER", Failed,
        "An adapter cannot be used with this model.",
        "Use a LoRA adapter in the PEFT layout that was made for this base model.";
    ARTEFACT, "SPRAT-MODEL-ARTEFACT", Failed,
        "A classifier's folder is incomplete or of an unknown version.",
        "Write it again with this version of sprat, or use the version that wrote it.";
    BASE, "SPRAT-MODEL-BASE", Failed,
        "A classifier needs its base model, which is not there.",
        "Pull the base model that `classifier.json` names.";
}
