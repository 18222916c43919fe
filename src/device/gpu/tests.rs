use std::sync::Arc;
use std::time::Duration;

use super::pipelines::PATIENCE;
use super::*;
use crate::device::cases;
use crate::graph::DType;
use crate::lower::kernels::{Accumulate, Fill, SortIds};
use crate::lower::program::{Buffer, BufferId, Dispatch, Extent, Phase, Role};

/// The adapter of the tests: software Vulkan where there is no GPU.
fn gpu() -> Gpu {
    Gpu::open(None).unwrap_or_else(|e| {
        panic!("the tests need a GPU adapter: `apt-get install mesa-vulkan-drivers` gives a software one ({e})")
    })
}

#[test]
fn every_kernel_keeps_its_contract() {
    let checked = cases::check(&gpu(), &cases::cases());
    assert!(checked.is_ok(), "{}", checked.unwrap_err());
}

/// The adapter of the tests, with the schedules of another class.
fn as_if(class: Class) -> Gpu {
    Gpu { class, ..gpu() }
}

/// The cases whose shader or launches are other ones on a class than on a processor.
fn variants(class: Class) -> Vec<cases::Case> {
    let launches = |case: &cases::Case, class| {
        let (_, schedule) = kernels::schedule(case.kernel(), class);
        (emit::specialise_on(case.kernel(), class), schedule.launches(case.rows))
    };
    let mut all = cases::cases();
    all.retain(|case| launches(case, class) != launches(case, Class::Cpu));
    all
}

#[test]
fn every_variant_keeps_its_contract() {
    for class in [Class::Integrated, Class::Discrete] {
        let all = variants(class);
        assert!(!all.is_empty());
        let checked = cases::check(&as_if(class), &all);
        assert!(checked.is_ok(), "{class:?}: {}", checked.unwrap_err());
    }
}

#[test]
fn sums_of_variants_round_as_often_as_they_state() {
    cases::rounding::check(&as_if(Class::Discrete), &WebGpu, true);
}

#[test]
fn variants_keep_records_apart_and_what_is_not_finite() {
    cases::apart::check(&as_if(Class::Discrete), &cases::apart::cases());
    cases::nonfinite::check(&as_if(Class::Discrete));
}

#[test]
fn nan_and_infinities_are_those_of_the_cpu() {
    cases::nonfinite::check(&gpu());
}

#[test]
fn sums_round_as_often_as_they_state() {
    cases::rounding::check(&gpu(), &WebGpu, true);
}

#[test]
fn what_a_record_adds_does_not_depend_on_others() {
    cases::apart::check(&gpu(), &cases::apart::cases());
}

#[test]
fn long_sums_are_taken_in_parts() {
    let checked = cases::check(&gpu(), &cases::long_cases());
    assert!(checked.is_ok(), "{}", checked.unwrap_err());
}

/// `y += x` on buffers of `len` elements, `y` being `x` if `aliased`.
fn accumulate(len: Extent, aliased: bool) -> Program {
    let mut program = Program::default();
    for name in ["x", "y"] {
        let role = Role::Output(name.into());
        program.buffers.push(Buffer { name: name.into(), dtype: DType::F32, len, role, slot: 0 });
    }
    let buffers = vec![BufferId(0), BufferId(u32::from(!aliased))];
    let kernel = Accumulate { len: len.at(1) }.into();
    program.phases.insert(Phase::Forward, vec![Dispatch { kernel, buffers, label: "sum".into(), views: 1 }]);
    program
}

fn load(program: Program, rows: usize) -> Result<Box<dyn Session>, DeviceError> {
    gpu().load(Arc::new(program), rows)
}

#[test]
fn reading_without_blocking_reads_the_same() {
    let mut session = load(accumulate(Extent::fixed(3), false), 1).unwrap();
    session.write_f32(BufferId(0), &[1.0, 2.0, 3.0]).unwrap();
    session.run(Phase::Forward).unwrap();
    let both = [BufferId(0), BufferId(1)];
    for _ in 0..2 {
        let read = pollster::block_on(session.read_async(&both)).unwrap();
        assert_eq!(read, session.read_all(&both).unwrap());
    }
    assert_eq!(pollster::block_on(session.read_async(&[])).unwrap(), Vec::<Vec<u32>>::new());
}

#[test]
fn buffers_start_as_zeros_and_keep_what_is_written() {
    let mut session = load(accumulate(Extent::fixed(3), false), 1).unwrap();
    session.write_f32(BufferId(0), &[1.0, 2.0, 3.0]).unwrap();
    for times in 1..=2 {
        session.run(Phase::Forward).unwrap();
        assert_eq!(session.read_f32(BufferId(1)).unwrap(), [1.0, 2.0, 3.0].map(|x| x * times as f32));
    }
    assert!(session.run(Phase::Update).is_ok());
    assert!(matches!(session.write(BufferId(0), &[0]), Err(DeviceError::Refused { .. })));
}

#[test]
fn a_device_that_goes_away_is_an_error_at_the_next_result() {
    let gpu = gpu();
    let mut session = gpu.load(Arc::new(accumulate(Extent::fixed(3), false)), 1).unwrap();
    session.run(Phase::Forward).unwrap();
    session.read(BufferId(1)).unwrap();
    gpu.device.destroy();
    let mut result = || {
        session.write_f32(BufferId(0), &[1.0, 2.0, 3.0])?;
        session.run(Phase::Forward)?;
        session.read_f32(BufferId(1))
    };
    for _ in 0..2 {
        let error = result().unwrap_err();
        assert!(matches!(error, DeviceError::Lost { .. }), "{error}");
    }
}

#[test]
fn a_missing_adapter_is_named() {
    let error = Gpu::open(Some("no such adapter")).err().unwrap();
    assert!(matches!(&error, DeviceError::NoAdapter { wanted: Some(name) } if name == "no such adapter"));
    assert_eq!(error.to_string(), "no GPU adapter was found whose name contains `no such adapter`");
}

#[test]
fn a_listed_adapter_opens_by_its_name() {
    let first = list().into_iter().next().expect("an adapter");
    assert!(Gpu::open(Some(&first.name.to_uppercase())).is_ok());
}

#[test]
fn what_does_not_fit_says_which_batch_would() {
    let error = load(accumulate(Extent::rows(1 << 20), false), 1 << 14).err().unwrap();
    let DeviceError::OutOfMemory { what, .. } = &error else { panic!("{error}") };
    assert!(what.contains("`x`") && what.contains("the largest physical batch that fits is"), "{what}");
}

#[test]
fn a_written_buffer_is_bound_once() {
    let error = load(accumulate(Extent::fixed(3), true), 1).err().unwrap();
    assert!(matches!(&error, DeviceError::Invalid(invalid) if invalid.what.contains("`sum`")), "{error}");
}

#[test]
fn a_shader_that_the_driver_refuses_is_an_error() {
    let gpu = gpu();
    let broken = emit::Shader { name: "broken".into(), wgsl: "fn main() { return 1; }".into() };
    for _ in 0..2 {
        let made = gpu.pipelines().get(&gpu.device, &gpu.faults, &broken, (1, 1), PATIENCE);
        assert!(matches!(made.err(), Some(DeviceError::Refused { .. })));
    }
    assert!(gpu.faults.check().is_ok());
}

#[test]
fn a_shader_that_takes_the_driver_too_long_is_an_error() {
    let gpu = gpu();
    let case = cases::cases().into_iter().find(|case| case.name.starts_with("gemm/")).unwrap();
    let shader = emit::shaders(&case.program).unwrap().remove(0);
    let bindings = (case.program.buffers.len(), 1);
    let get = |patience| gpu.pipelines().get(&gpu.device, &gpu.faults, &shader, bindings, patience).map(|_| ());
    let error = get(Duration::ZERO).unwrap_err();
    assert!(matches!(&error, DeviceError::Slow { what, .. } if what.contains("`gemm-")), "{error}");
    assert!(get(PATIENCE).is_ok());
}

#[test]
fn what_no_shader_can_do_is_an_error() {
    let mut program = accumulate(Extent::fixed(3), false);
    let len = Extent::fixed(70_000);
    program.buffers.iter_mut().for_each(|buffer| (buffer.len, buffer.dtype) = (len, DType::I32));
    program.phases.get_mut(&Phase::Forward).unwrap()[0].kernel = SortIds { count: 70_000, table_rows: 9 }.into();
    let error = load(program, 1).err().unwrap();
    assert!(matches!(error, DeviceError::Unrunnable(_)), "{error}");
}

#[test]
fn launches_keep_the_grid_limit() {
    let len = Extent::fixed(5_000_000);
    let mut program = accumulate(len, false);
    let fill = Dispatch {
        kernel: Fill { len, value: 2.5 }.into(),
        buffers: vec![BufferId(1)],
        label: "fill".into(),
        views: 1,
    };
    program.phases.insert(Phase::Update, vec![fill]);
    let mut session = load(program, 1).unwrap();
    session.run(Phase::Update).unwrap();
    assert!(session.read_f32(BufferId(1)).unwrap().iter().all(|&y| y == 2.5));
}
