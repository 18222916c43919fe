//! Every flag that a text names exists, and every op that one recommends is supported.
//!
//! The texts are the strings and docs of the sources, tests aside, and the README.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::Cli;
use crate::import;

/// Flags of other tools that texts name.
const OF_OTHERS: [&str; 15] = [
    "--features",
    "--lib",
    "--mpi",
    "--no-default-features",
    "--target",
    "--dim_param",
    "--dim_value",
    "--exact",
    "--help",
    "--ignored",
    "--nocapture",
    "--path",
    "--release",
    "--test-threads",
    "--version",
];

/// All operators of ONNX 1.23.
const ONNX: &str = "\
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization \
    Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike \
    CausalConvWithState Ceil Celu CenterCropPad Clip Col2Im Compress Concat ConcatFromSequence Constant \
    ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumProd CumSum DFT DeformConv DepthToSpace \
    DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor \
    GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater \
    GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity \
    If ImageDecoder InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual \
    LinearAttention Log LogSoftmax Loop LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool \
    MaxUnpool Mean MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul Multinomial Neg \
    NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement OptionalHasElement \
    Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike \
    RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax \
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence \
    RoiAlign RotaryEmbedding Round STFT Scan Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct \
    SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap Shape Shrink Sigmoid Sign Sin Sinh Size \
    Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze \
    StringConcat StringNormalizer StringSplit Sub Sum SwiGLU Swish Tan Tanh TensorScatter TfIdfVectorizer \
    ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor";

/// Layers of PyTorch, and the operators that exporters make of them.
const LAYERS: [(&str, &str); 4] = [
    ("BatchNorm", "BatchNormalization"),
    ("GroupNorm", "GroupNormalization"),
    ("InstanceNorm", "InstanceNormalization"),
    ("LayerNorm", "LayerNormalization"),
];

/// The sources without their tests, and the README.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    let mut directories = vec![root.join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => directories.push(path),
                Some(ending) if ending == "rs" && !path.ends_with("tests.rs") => files.push(path),
                _ => {}
            }
        }
    }
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
        (path, text)
    };
    files.into_iter().filter(|path| !path.ends_with("help_tests.rs")).map(read).collect()
}

/// The `--flag` words of a text.
fn flags(text: &str) -> Vec<&str> {
    let is_of_flag = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let begins = |(at, _): &(usize, &str)| {
        !text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '|' | '_'))
            && text[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    };
    let ends = |rest: &str| rest.find(|c| !is_of_flag(c)).unwrap_or(rest.len());
    let places = text.match_indices("--").filter(begins).map(|(at, _)| at);
    places.map(|at| text[at..at + ends(&text[at..])].trim_end_matches('-')).collect()
}

fn flags_of(command: &clap::Command, known: &mut BTreeSet<String>) {
    known.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(|long| format!("--{long}")));
    command.get_subcommands().for_each(|command| flags_of(command, known));
}

#[test]
fn every_flag_that_a_text_names_exists() {
    let mut known: BTreeSet<String> = OF_OTHERS.iter().map(|flag| (*flag).to_owned()).collect();
    flags_of(&Cli::command(), &mut known);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in texts() {
        let named = flags(&text);
        seen += named.len();
        let unknown = named.iter().filter(|flag| !known.contains(**flag));
        wrong.extend(unknown.map(|flag| format!("{}: {flag}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "{seen}");
}

/// The string literals of a source, near enough: no raw strings.
fn strings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('"') {
        let mut inside = String::new();
        let mut characters = rest[start + 1..].char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => inside.extend(characters.next().map(|_| ' ')),
                '"' => {
                    end = start + 1 + at + 1;
                    break;
                }
                c => inside.push(c),
            }
        }
        found.push(inside);
        rest = &rest[end..];
    }
    found
}

/// The operators that a text recommends: those named after the word `use`.
fn recommended(text: &str) -> Vec<&str> {
    let operators: BTreeSet<&str> = ONNX.split_whitespace().collect();
    let words = |advice: &'static str| text.split(advice).skip(1);
    let after = ["use ", "Use ", "replace it by ", "rewrite it with "].into_iter().flat_map(words);
    let of_sentence = after.flat_map(|advice| advice.split([';', '.']).next());
    let names = of_sentence.flat_map(|advice| advice.split(|c: char| !c.is_ascii_alphanumeric()));
    let operator = |name: &str| {
        let of_layer = LAYERS.iter().find(|(layer, _)| *layer == name).map(|(_, operator)| *operator);
        of_layer.or_else(|| operators.get(name).copied())
    };
    names.filter_map(operator).collect()
}

#[test]
fn every_op_that_a_text_recommends_is_supported() {
    assert_eq!(recommended("use LayerNorm or Gelu; not Loop"), ["LayerNormalization", "Gelu"]);
    let supported: BTreeSet<&str> = import::rules().map(|(name, _)| name).collect();
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        let strings = strings(&text);
        let named = strings.iter().flat_map(|text| recommended(text));
        let unsupported = named.filter(|name| !supported.contains(name));
        wrong.extend(unsupported.map(|name| format!("{}: {name}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
