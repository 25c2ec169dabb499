use super::*;
use proptest::prelude::*;

fn written(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn parse(name: &str, content: &[u8]) -> Result<Dataset> {
    let (_folder, path) = written(name, content);
    read(&path, &ReadOptions::default())
}

fn fails(name: &str, content: &[u8]) -> Error {
    parse(name, content).unwrap_err()
}

#[test]
fn all_text_formats_give_the_same_rows_and_the_same_digest() {
    let csv =
        parse("a.csv", b"\xEF\xBB\xBFtext,label,lang\r\n\"a, \"\"b\"\"\",x,en\r\n\r\nc,,de\r\n")
            .unwrap();
    let tsv = parse("a.tsv", b"label\ttext\tlang\nx\t\"a, \"\"b\"\"\"\ten\n\tc\tde").unwrap();
    let json = br#"[{"text": "a, \"b\"", "label": "x", "lang": "en"},
        {"text": "c", "label": null, "lang": "de"}]"#;
    let json = parse("a.json", json).unwrap();
    let lines = "{\"lang\":\"en\",\"text\":\"a, \\\"b\\\"\",\"label\":\" x \"}\n\n\
                 {\"text\":\"c\",\"lang\":\"de\"}";
    let lines = parse("a.jsonl", lines.as_bytes()).unwrap();
    for other in [&tsv, &json, &lines] {
        assert_eq!(csv.digest, other.digest, "{other:?}");
    }
    assert_eq!(csv.examples[0].text, "a, \"b\"");
    assert_eq!((csv.examples[1].row, csv.examples[1].line), (2, 4));
    assert_eq!(csv.examples[1].label, None);
    assert_eq!(json.examples[1].line, 2);
    assert_eq!(lines.examples[1].line, 3);
}

#[test]
fn chat_records_are_read_as_they_are() {
    let content = concat!(
        r#"{"messages":[{"role":"system","content":"Sort."},{"role":"user","content":"Hi"},"#,
        r#"{"role":"assistant","content":"No.","weight":0},"#,
        r#"{"role":"user","content":[{"type":"text","text":"Lost card"}]},"#,
        r#"{"role":"assistant","content":"lost_card"}]}"#,
        "\n",
        r#"{"messages":[{"role":"user","content":"PIN"},{"role":"assistant","content":"pin"}]}"#
    );
    let data = parse("chat.jsonl", content.as_bytes()).unwrap();
    assert_eq!(data.examples[0].text, "Hi\nLost card");
    assert_eq!(data.examples[0].label.as_deref(), Some("lost_card"));
    assert_eq!(data.examples[0].extra["system"], "Sort.");
    assert_eq!(data.examples[1].label.as_deref(), Some("pin"));
    let error = fails("chat.jsonl", br#"{"messages":[{"role":"user","content":"PIN"}]}"#);
    assert_eq!((error.code().id, error.place().line), ("SPRAT-DATA-RECORD", Some(1)));
}

#[test]
fn a_torn_quote_is_named_by_the_line_where_it_opened() {
    let error = fails("a.csv", b"text,label\na,b\n\"c,d\ne,f\n");
    assert_eq!((error.code().id, error.place().line), ("SPRAT-DATA-QUOTE", Some(3)));
    let error = fails("a.csv", b"text,label\n\"c,d\ne,f\n\"g\",h\n");
    assert_eq!((error.code().id, error.place().line), ("SPRAT-DATA-QUOTE", Some(2)));
}

#[test]
fn wrong_bytes_are_named_by_line_and_byte() {
    let error = fails("a.csv", b"text,label\nCaf\xE9,b\n");
    assert_eq!(error.code().id, "SPRAT-DATA-ENCODING");
    assert_eq!((error.place().line, error.place().byte), (Some(2), Some(14)));
    assert_eq!(fails("a.csv", b"text,label\nx,\xC3").place().byte, Some(13));
    let error = fails("a.csv", b"\xFF\xFEt\0");
    assert!(error.reason().unwrap().contains("UTF-16"), "{error}");
    // Beyond the first chunk, and with a character torn by the chunk's edge.
    let mut long = b"text,label\n".to_vec();
    for _ in 0..9000 {
        long.extend_from_slice("äöüß,x\n".as_bytes());
    }
    assert_eq!(parse("a.csv", &long).unwrap().len(), 9000);
    let byte = long.len() as u64;
    long.extend_from_slice(b"\xE9,x\n");
    let error = fails("a.csv", &long);
    assert_eq!((error.place().line, error.place().byte), (Some(9002), Some(byte)));
}

#[test]
fn bad_tables_are_clear_errors() {
    assert_eq!(fails("a.csv", b"").code().id, "SPRAT-DATA-EMPTY");
    assert_eq!(fails("a.csv", b"text,label\n").code().id, "SPRAT-DATA-EMPTY");
    assert_eq!(fails("a.json", b"[]").code().id, "SPRAT-DATA-EMPTY");
    let error = fails("a.csv", b"text,label\na,b\nc,d,e\n");
    assert_eq!((error.code().id, error.place().line), ("SPRAT-DATA-RAGGED", Some(3)));
    assert_eq!(fails("a.csv", b"text,text\na,b\n").code().id, "SPRAT-DATA-HEADER");
    let error = fails("a.csv", b"Text,lable\na,b\n");
    assert_eq!(error.code().id, "SPRAT-DATA-COLUMN");
    assert!(error.remedy().contains("`Text`"), "{error:?}");
    let error = fails("a.jsonl", b"{\"text\":\"a\",\"lable\":\"b\"}");
    assert!(error.remedy().contains("`lable`"), "{error:?}");
    assert_eq!(fails("a.doc", b"x").code().id, "SPRAT-DATA-FORMAT");
    assert_eq!(fails("a.parquet", b"PAR1 not parquet PAR1").code().id, "SPRAT-DATA-FORMAT");
    let error = fails("a.jsonl", b"{\"text\":\"a\",\"label\":\"b\"}\n{\"text\":");
    assert_eq!((error.code().id, error.place().line), ("SPRAT-DATA-RECORD", Some(2)));
    let error = fails("a.json", b"[{\"text\":\"a\",\"label\":\"b\"},\n{\"text\":\"c\"");
    assert_eq!((error.code().id, error.place().line), ("SPRAT-DATA-RECORD", Some(2)));
}

#[test]
fn ten_megabytes_in_one_cell_are_refused() {
    let mut content = b"text,label\na,b\n".to_vec();
    content.extend(std::iter::repeat_n(b'x', 10 << 20));
    content.extend_from_slice(b",y\n");
    let error = fails("a.csv", &content);
    assert_eq!((error.code().id, error.place().line), ("SPRAT-DATA-TOO-LARGE", Some(3)));
    assert_eq!(error.place().field.as_deref(), Some("text"));
    let line = format!("{{\"text\":\"{}\",\"label\":\"y\"}}", "x".repeat(10 << 20));
    assert_eq!(fails("a.jsonl", line.as_bytes()).code().id, "SPRAT-DATA-TOO-LARGE");
    let (_folder, path) = written("a.csv", &content);
    let options = ReadOptions { max_cell_bytes: 11 << 20, ..ReadOptions::default() };
    assert_eq!(read(&path, &options).unwrap().len(), 2);
}

#[test]
fn parquet_rows_are_read() {
    use ::parquet::data_type::{ByteArray, ByteArrayType};
    use ::parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    use ::parquet::schema::parser::parse_message_type;
    use std::sync::Arc;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let schema = "message m { required binary text (UTF8); optional binary label (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer =
        SerializedFileWriter::new(File::create(&path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (cells, levels) in [(vec!["a", "b"], None), (vec!["x"], Some([1, 0]))] {
        let mut column = group.next_column().unwrap().unwrap();
        let cells: Vec<_> = cells.into_iter().map(ByteArray::from).collect();
        let levels = levels.as_ref().map(|levels| levels.as_slice());
        column.typed::<ByteArrayType>().write_batch(&cells, levels, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    let data = read(&path, &ReadOptions::default()).unwrap();
    let csv = parse("a.csv", b"text,label\na,x\nb,\n").unwrap();
    assert_eq!(data.digest, csv.digest);
}

proptest! {
    #[test]
    fn what_the_csv_crate_writes_comes_back(
        rows in prop::collection::vec((".{0,12}|[\",\r\n a]{0,8}", "[a-z]{1,4}"), 1..20),
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["text", "label"]).unwrap();
        for (text, label) in &rows {
            writer.write_record([text, label]).unwrap();
        }
        let data = parse("a.csv", &writer.into_inner().unwrap()).unwrap();
        let back: Vec<_> = data
            .examples
            .iter()
            .map(|e| (e.text.clone(), e.label.clone().unwrap_or_default()))
            .collect();
        prop_assert_eq!(back, rows);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(
        content in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'{'), Just(b',')], 1..200),
        name in prop_oneof![Just("a.csv"), Just("a.json"), Just("a.jsonl"), Just("a.parquet")],
    ) {
        let mut framed = b"text,label\n".to_vec();
        framed.extend_from_slice(&content);
        let _ = parse(name, &framed);
        let _ = parse(name, &content);
    }
}
