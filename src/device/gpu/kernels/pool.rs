//! Schedules of [`Pool`] and [`PoolVjp`].

use super::{Launch, MAX_ITERATIONS, On, Schedule, Specialise, Template, linear_grid, words};
use crate::device::gpu::class::Class;
use crate::lower::kernels::{Pool, PoolKind, PoolVjp, Window};

impl PoolKind {
    /// The constant of `shaders/shared/window.wgsl` that stands for the kind.
    fn constant(self) -> &'static str {
        match self {
            PoolKind::Max => "MAX",
            PoolKind::AverageInside => "AVERAGE_INSIDE",
            PoolKind::AveragePadded => "AVERAGE_PADDED",
        }
    }
}

/// Sets the constants of `shaders/shared/window.wgsl`: divisions by them cost little, and short loops are written out.
fn specialise_window(template: &mut Specialise, kind: PoolKind, w: &Window) {
    let padded = [0, 1, 2].map(|i| w.pad[i] + w.input[i] + w.pad_end[i]);
    template.constant("KIND", kind.constant());
    for (name, sizes) in [
        ("IN", w.input),
        ("OUT", w.output),
        ("KERNEL", w.kernel),
        ("STRIDE", w.stride),
        ("DILATION", w.dilation),
        ("PAD", w.pad),
        ("PADDED", padded),
    ] {
        template.constant(name, triple(sizes));
    }
}

/// Sizes as WGSL.
fn triple([d, h, w]: [usize; 3]) -> String {
    format!("vec3<u32>({d}u, {h}u, {w}u)")
}

/// Iterations of three nested loops around `inner` more, their ends among them.
fn nested([d, h, w]: [usize; 3], inner: usize) -> usize {
    d * (h * (w * (inner + 1) + 1) + 1) + 1
}

/// Iterations of one walk over a window.
fn walk(kind: PoolKind, w: &Window) -> usize {
    let axes = w.kernel.iter().map(|k| k + 1).sum();
    if kind == PoolKind::Max { nested(w.kernel, 0) } else { axes }
}

/// The most windows that hold an element, along each axis.
fn windows(w: &Window) -> [usize; 3] {
    [0, 1, 2].map(|i| ((w.kernel[i] - 1) * w.dilation[i] / w.stride[i] + 1).min(w.output[i]))
}

impl Template for Pool {
    const WGSL: &'static str = include_str!("../../../../shaders/pool.wgsl");
}

impl Schedule for On<'_, Pool> {
    fn specialise(&self, template: &mut Specialise) {
        specialise_window(template, self.kind, &self.window);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let planes = self.channels * if self.batched { rows } else { 1 };
        Launch::linear(planes * self.window.positions(), &[])
    }

    fn iterations(&self) -> usize {
        nested(self.window.kernel, 0) + walk(self.kind, &self.window)
    }
}

impl Template for PoolVjp {
    const WGSL: &'static str = include_str!("../../../../shaders/pool_vjp.wgsl");
}

impl On<'_, PoolVjp> {
    /// Iterations of an invocation that makes a whole channel.
    fn plane(&self) -> usize {
        let w = &self.window;
        w.elements() + 1 + nested(w.output, walk(self.kind, w))
    }

    /// Whether an invocation makes a channel: on a processor, where loads are what costs, and as many channels at a time as
    /// there are lanes are enough.
    fn by_planes(&self) -> bool {
        self.class == Class::Cpu && self.kind == PoolKind::Max && self.plane() <= MAX_ITERATIONS / 2
    }
}

impl Schedule for On<'_, PoolVjp> {
    fn specialise(&self, template: &mut Specialise) {
        specialise_window(template, self.kind, &self.window);
        template.constant("WINDOWS", triple(windows(&self.window)));
        if self.by_planes() {
            template.snippet("elements", "planes");
        }
        if self.kind != PoolKind::Max {
            template.block(
                "operands",
                "@group(0) @binding(1) var<storage, read> dy: array<f32>;\n\
                 @group(0) @binding(2) var<storage, read_write> dx: array<f32>;",
            );
            template.block("share", "    return 1.0 / divisor(o);");
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let planes = self.channels * if self.batched { rows } else { 1 };
        if self.by_planes() {
            return vec![Launch::new(words(&[planes]), linear_grid(planes, 8))];
        }
        Launch::linear(planes * self.window.elements(), &[])
    }

    fn iterations(&self) -> usize {
        if self.by_planes() { self.plane() } else { nested(windows(&self.window), walk(self.kind, &self.window)) }
    }
}
