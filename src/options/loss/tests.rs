use super::*;

fn parse(text: &str) -> Loss {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn losses_read_back() {
    for text in [
        "cross-entropy",
        "cross-entropy:ignore_index=0",
        "cross-entropy:weights=1,2,5,smoothing=0.1",
        "cross-entropy:axis=last,ignore_index=3,weights=0.5,1,probabilities",
        "nll:axis=last,weights=1,2",
        "mse",
        "l1",
        "huber",
        "huber:delta=0.25",
        "bce",
        "bce:pos_weight=3,0.5",
        "output:per_record",
        "-1*output:critic,reduction=sum",
        "logits=cross-entropy + 0.3*aux=mse",
        "head/out.1:0=cross-entropy:axis=last + output:head/kl:0 + 2*/head/Gemm_output_0=bce",
        "\"a + b\"=mse + output:\"x,reduction=sum\"",
    ] {
        assert_eq!(parse(text).to_string(), text);
    }
    for (text, canonical) in [
        ("nll:axis=-1", "nll:axis=last"),
        ("output:x,reduction=mean", "output:x"),
        ("logits=cross-entropy+1e+1*aux=mse", "logits=cross-entropy + 10*aux=mse"),
        (" 0.5 * mse ", "0.5*mse"),
        ("huber:delta=1", "huber"),
    ] {
        assert_eq!(parse(text).to_string(), canonical);
    }
}

#[test]
fn names_are_split_from_losses_where_a_loss_follows() {
    let output = |text: &str| parse(text).terms.swap_remove(0).output;
    assert_eq!(output("cross-entropy:weights=1,2"), None);
    assert_eq!(output("Identity:0=cross-entropy:axis=1"), Some("Identity:0".into()));
    assert_eq!(output("a=b=mse"), Some("a=b".into()));
    assert_eq!(output("mse=mse"), Some("mse".into()));
    assert_eq!(output("output:a=mse"), Some("a=mse".into()));
    assert_eq!(output("\"output:a\"=mse"), Some("output:a".into()));
}

#[test]
fn what_cannot_be_read_says_what_to_write() {
    let error = |text: &str| text.parse::<Loss>().unwrap_err();
    assert!(error("hinge").contains("no loss") && error("hinge").contains("output:NAME"));
    assert!(error("").contains("no loss"));
    assert!(error("mse + ").contains("no loss"));
    assert!(error("cross-entropy:ignore_index=x").contains("integer"));
    assert!(error("nll:classes=3").contains("axis"));
    assert!(error("nll:smoothing=0.1").contains("no option of nll"));
    assert!(error("mse:axis=1").contains("no options"));
    assert!(error("huber:delta=0").contains("above 0"));
    assert!(error("huber:delta=1,2").contains("delta"));
    assert!(error("bce:weight=1").contains("pos_weight"));
    assert!(error("cross-entropy:weights=1,-2").contains("at least 0"));
    assert!(error("cross-entropy:axis=1,axis=2").contains("twice"));
    assert!(error("cross-entropy:smoothing=1.5").contains("between 0 and 1"));
    assert!(error("x*mse").contains("before `*`"));
    assert!(error("0*mse").contains("other than 0"));
    assert!(error("x=output:y").contains("stands alone"));
    assert!(error("output:").contains("missing"));
    assert!(error("output:x,reduction=max").contains("reduction=mean"));
    assert!(error("\"x=mse").contains("no loss"));
}

#[test]
fn labels_are_named_after_outputs_but_the_first() {
    let labels = |text: &str| -> Vec<Option<String>> { parse(text).labels() };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(labels("mse"), [some("label")]);
    assert_eq!(labels("a=cross-entropy + b=mse"), [some("label"), some("label.b")]);
    assert_eq!(labels("output:kl + b=mse + a=l1"), [None, some("label"), some("label.a")]);
    assert_eq!(labels("a=mse + a=l1"), [some("label"), some("label")]);
    assert_eq!(labels("a=mse + b=mse + b=huber"), [some("label"), some("label.b"), some("label.b")]);
    assert_eq!(labels("a=cross-entropy + a=bce"), [some("label"), some("label.a")]);
}

proptest::proptest! {
    #[test]
    fn any_name_reads_back(name in ".+", sum: bool, factor in 0.001f32..100.0) {
        let reduction = if sum { Reduction::Sum } else { Reduction::Mean };
        let term = |kind| Term { factor, output: Some(name.clone()), kind };
        let terms = vec![term(LossKind::Mse), term(LossKind::Output(reduction)), term(LossKind::Nll(Classes::default()))];
        let loss = Loss { terms };
        proptest::prop_assert_eq!(parse(&loss.to_string()), loss);
    }

    #[test]
    fn no_text_panics(text in ".*") {
        let _ = text.parse::<Loss>();
    }
}
