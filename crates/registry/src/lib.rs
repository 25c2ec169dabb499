//! Versions, lineage, aliases, artefacts and rollback.
