//! Which program wrote a file, and what its user can do about what it did to parameters.

use super::proto::ModelProto;

/// The program that wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// `torch.onnx.export(dynamo=True)`: nodes and initialisers carry what they come from.
    TorchExport,
    /// `torch.onnx.export(dynamo=False)`.
    TorchScript,
    /// Keras on its PyTorch backend, which calls PyTorch's older exporter.
    KerasTorch,
    /// tf2onnx, which Keras on its TensorFlow backend calls.
    Tf2Onnx,
    /// skl2onnx.
    Skl2Onnx,
    /// Anything else.
    Other,
}

impl Exporter {
    /// The program that wrote `model`, by its producer name, its metadata and its inputs.
    pub(super) fn of(model: &ModelProto) -> Exporter {
        let graph = model.graph.iter();
        let keras = graph.clone().flat_map(|graph| &graph.input).any(|input| input.name().starts_with("keras_tensor"));
        let traced = graph
            .flat_map(|graph| &graph.node)
            .flat_map(|node| &node.metadata_props)
            .chain(&model.metadata_props)
            .any(|entry| entry.key().starts_with("pkg.torch"));
        match model.producer_name() {
            "pytorch" if traced => Exporter::TorchExport,
            "pytorch" if keras => Exporter::KerasTorch,
            "pytorch" => Exporter::TorchScript,
            "tf2onnx" => Exporter::Tf2Onnx,
            "skl2onnx" => Exporter::Skl2Onnx,
            _ if traced => Exporter::TorchExport,
            _ => Exporter::Other,
        }
    }

    /// How to export so that every parameter keeps its name and its shape.
    pub fn keeping_parameters(self) -> &'static str {
        match self {
            Exporter::TorchExport => "export with optimize=False to keep the module's own",
            Exporter::TorchScript => {
                "export with training=TrainingMode.TRAINING and do_constant_folding=False to keep the module's own"
            }
            Exporter::KerasTorch => {
                "Keras has no option that keeps them: go by the table, which says where each is used"
            }
            Exporter::Tf2Onnx => {
                "tf2onnx has no option that keeps them: go by the table, which says where each is used"
            }
            Exporter::Skl2Onnx | Exporter::Other => "export without optimisations, if the exporter has such an option",
        }
    }

    /// How to export with a batch axis of any size.
    pub fn freeing_batch(self) -> &'static str {
        match self {
            Exporter::TorchExport => {
                "export with dynamic_shapes=({0: torch.export.Dim(\"batch\", min=1, max=65536)},), one entry an input"
            }
            Exporter::TorchScript => "export with dynamic_axes={INPUT: {0: \"batch\"}}, one entry for each input",
            Exporter::KerasTorch => "export from a model whose Input leaves the batch size open",
            Exporter::Tf2Onnx => "export with a tf.TensorSpec([None, …]) for each input",
            Exporter::Skl2Onnx => "export with FloatTensorType([None, FEATURES])",
            Exporter::Other => "export with a symbolic leading axis on every input",
        }
    }
}
