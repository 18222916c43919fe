"""The exceptions of dpc: each with the code of what happened, and help where there is some."""

# What the command line's flags are called here.
_FLAGS = {"--batch": "batch_size=", "--augment": "augment=", "--resume": "resume=True", "--physical-batch": "physical_batch="}
_SAME = {"epsilon", "noise-multiplier", "delta", "epochs", "steps", "lr", "lr-schedule", "out", "loss", "clip", "optimizer",
         "freeze", "train", "device", "sampling", "adjacency", "sample-rate", "noise-schedule", "clip-schedule", "ema"}


def in_python(text):
    """A text of the library in words of Python, not of the command line."""
    import re

    def keyword(found):
        flag = found.group(0)
        if flag in _FLAGS:
            return _FLAGS[flag]
        return flag[2:].replace("-", "_") + "=" if flag[2:] in _SAME else flag

    # A module is what is trained, so that no file is rewritten.
    text = re.sub(
        r"have it rewritten by --fix batch-norm=[^;]*; or", "put GroupNorm in its place, as is usual in private training; or", text)
    text = text.replace(
        "call .eval() on the BatchNorm layers before the export",
        "have the module in training mode and call .eval() on its BatchNorm layers")
    return re.sub(r"--[a-z][a-z-]*[a-z]", keyword, text)


class DpcError(Exception):
    """An error of dpc; `code` says which, `help` what to do about it."""

    def __init__(self, message, code="dpc::error", help=None):
        self.message = in_python(message)
        self.code = code
        self.help = in_python(help) if help else None
        super().__init__(self.message)

    def __str__(self):
        lines = [f"{self.message} [{self.code}]"]
        if self.help and self.help not in self.message:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)


class CompileError(DpcError):
    """The model cannot be exported, or not be trained privately; `layers` has the paths of a module's layers at fault."""

    layers = ()


class DataError(DpcError):
    """The data do not fit the model."""


class PlanError(DpcError):
    """There is no such plan: what is asked for contradicts itself, or cannot be had."""


class TrainError(DpcError):
    """The training failed."""
