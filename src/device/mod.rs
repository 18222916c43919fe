//! Devices: what runs a [`Program`].
//!
//! Two devices keep the same contract, the doc of each kernel: `cpu` natively, `gpu` through wgpu. A device loads a
//! program for a fixed number of physical rows; the session that comes back holds the buffers and runs phases.

#[cfg(all(test, feature = "cpu", feature = "gpu"))]
pub mod cases;
#[cfg(feature = "cpu")]
pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod tuner;

use std::pin::Pin;
use std::sync::Arc;

#[cfg(feature = "cpu")]
use self::cpu::Cpu;
#[cfg(all(feature = "cpu", feature = "gpu"))]
use self::gpu::Gpu;
use crate::lower::check::Invalid;
use crate::lower::program::{BufferId, Phase, Program};
use crate::lower::target::{OtherTarget, Targets, Unrunnable};
#[cfg(all(feature = "cpu", feature = "gpu"))]
use crate::options::DeviceChoice;

/// The kinds of device of this build; a program is compiled so that any of them can run it, and for no others.
pub const TARGETS: Targets<'static> = Targets(&[
    #[cfg(feature = "gpu")]
    &gpu::WebGpu,
    #[cfg(feature = "cpu")]
    &Cpu,
]);

/// Opens the device that is meant: `auto` is a hardware GPU where one opens, and the CPU where none does or there is only
/// software Vulkan.
///
/// # Errors
/// [`DeviceError::NoAdapter`] if no adapter answers to a GPU that was asked for, [`DeviceError::Refused`] if its driver
/// does not open it.
#[cfg(all(feature = "cpu", feature = "gpu"))]
pub fn open(choice: &DeviceChoice) -> Result<Box<dyn Device>, DeviceError> {
    Ok(match choice {
        DeviceChoice::Cpu => Box::new(Cpu),
        DeviceChoice::Gpu { name } => Box::new(Gpu::open(name.as_deref())?),
        DeviceChoice::Auto => match Gpu::open_hardware() {
            Ok(Some(gpu)) => Box::new(gpu),
            Ok(None) | Err(_) => Box::new(Cpu),
        },
    })
}

/// Something that can run programs.
pub trait Device: Send + Sync {
    /// A name for people: adapter, driver, cores.
    fn name(&self) -> String;

    /// Whether there is memory for a program at physical batches of `rows`, as far as can be told beforehand.
    fn fits(&self, _program: &Program, _rows: usize) -> bool {
        true
    }

    /// Allocates the buffers of a program for physical batches of `rows` and prepares its kernels. Buffers start as
    /// zeros, constants are filled in.
    fn load(&self, program: Arc<Program>, rows: usize) -> Result<Box<dyn Session>, DeviceError>;
}

/// The words of some buffers, when they are there.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<Vec<Vec<u32>>, DeviceError>> + 'a>>;

/// A buffer, and words that the host has for it.
pub type Lent<'a> = (BufferId, &'a [u32]);

/// A program on a device.
pub trait Session: Send {
    /// Rows of a physical batch.
    fn rows(&self) -> usize;

    /// Fills a buffer with 32-bit words; `words` is as long as the buffer.
    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<(), DeviceError>;

    /// Reads a buffer back, waiting for whatever writes it.
    fn read(&mut self, buffer: BufferId) -> Result<Vec<u32>, DeviceError>;

    /// [`Session::read`] of several buffers, at the cost of one.
    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Vec<u32>>, DeviceError> {
        buffers.iter().map(|&buffer| self.read(buffer)).collect()
    }

    /// [`Session::read_all`] without blocking, as a browser needs it.
    fn read_async<'a>(&'a mut self, buffers: &'a [BufferId]) -> Reading<'a> {
        Box::pin(std::future::ready(self.read_all(buffers)))
    }

    /// Runs the dispatches of a phase; may return before they are done.
    fn run(&mut self, phase: Phase) -> Result<(), DeviceError>;

    /// [`Session::run`], for the first `rows` rows alone where the device can leave out the others. What these had of an earlier run is not
    /// to be read then, and sums over the batch are without them.
    fn run_rows(&mut self, phase: Phase, rows: usize) -> Result<(), DeviceError> {
        debug_assert!(rows <= self.rows());
        self.run(phase)
    }

    /// [`Session::run`] with `lent` for what it reads of those buffers, each as long as its buffer. A device in the memory of the host
    /// takes no copy of it, and then has no more of it afterwards than before.
    fn run_lent(&mut self, phase: Phase, lent: &[Lent]) -> Result<(), DeviceError> {
        lent.iter().try_for_each(|(buffer, words)| self.write(*buffer, words))?;
        self.run(phase)
    }

    /// [`Session::run`], waiting for the end; the seconds that each dispatch took, in the order of the program, or none from
    /// a device that cannot tell. It may be slower so.
    fn time(&mut self, phase: Phase) -> Result<Vec<f64>, DeviceError> {
        self.run(phase).map(|()| Vec::new())
    }

    /// Bytes of device memory in use, with what the host lends as a rule.
    fn bytes(&self) -> usize;

    /// [`Session::write`] of floats.
    fn write_f32(&mut self, buffer: BufferId, data: &[f32]) -> Result<(), DeviceError> {
        self.write(buffer, bytemuck::cast_slice(data))
    }

    /// [`Session::write`] of integers.
    fn write_i32(&mut self, buffer: BufferId, data: &[i32]) -> Result<(), DeviceError> {
        self.write(buffer, bytemuck::cast_slice(data))
    }

    /// [`Session::read`] of floats.
    fn read_f32(&mut self, buffer: BufferId) -> Result<Vec<f32>, DeviceError> {
        Ok(bytemuck::cast_vec(self.read(buffer)?))
    }
}

/// What goes wrong on a device.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum DeviceError {
    /// No adapter answers.
    #[error("no GPU adapter was found{}", .wanted.as_deref().map(|w| format!(" whose name contains `{w}`")).unwrap_or_default())]
    #[diagnostic(
        code(dpc::device::no_adapter),
        help(
            "`dpc devices` lists what there is; on Linux install a Vulkan driver (`apt-get install mesa-vulkan-drivers` gives a software one), or use `--device cpu`"
        )
    )]
    NoAdapter {
        /// The name asked for.
        wanted: Option<String>,
    },
    /// The program does not fit.
    #[error("out of memory on {device}: {what}")]
    #[diagnostic(
        code(dpc::device::out_of_memory),
        help("use a smaller --physical-batch; it does not change the result")
    )]
    OutOfMemory {
        /// The device.
        device: String,
        /// What was asked for.
        what: String,
    },
    /// The device went away in mid-run.
    #[error("{device} was lost: {what}")]
    #[diagnostic(
        code(dpc::device::lost),
        help("run again with --resume: the last checkpoint and the ledger are intact")
    )]
    Lost {
        /// The device.
        device: String,
        /// The driver's words.
        what: String,
    },
    /// The program breaks the contract of a kernel.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] Invalid),
    /// The program was compiled for other devices.
    #[error(transparent)]
    #[diagnostic(transparent)]
    OtherTarget(#[from] OtherTarget),
    /// A kernel passes a limit of the device.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Unrunnable(#[from] Unrunnable),
    /// The driver does not get through a shader.
    #[error("the driver of {device} has not compiled {what} in {seconds} seconds")]
    #[diagnostic(
        code(dpc::device::slow),
        help(
            "use another adapter, `dpc devices` lists them, or `--device cpu`; drivers that run on the processor may take minutes, and all of its memory"
        )
    )]
    Slow {
        /// The device.
        device: String,
        /// The shader.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The device or its driver refuses the program.
    #[error("{device} refuses {what}")]
    #[diagnostic(
        code(dpc::device::refused),
        help("this is a defect of dpc or of the driver; `--device cpu` avoids it")
    )]
    Refused {
        /// The device.
        device: String,
        /// What it refuses and why.
        what: String,
    },
}
