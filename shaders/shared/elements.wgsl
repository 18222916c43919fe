// The share of the window at a position that goes to the element at `at` of the channel that starts at `base`.
fn share(o: vec3<u32>, base: u32, at: u32) -> f32 {
    // begin share
    let corner = o * STRIDE - PAD;
    var best = 0.0;
    var first = 0xffffffffu;
    for (var d = 0u; d < KERNEL.x; d += 1u) {
        for (var h = 0u; h < KERNEL.y; h += 1u) {
            for (var w = 0u; w < KERNEL.z; w += 1u) {
                let e = corner + vec3<u32>(d, h, w) * DILATION;
                let is = inside(e);
                let value = x[base + select(0u, place(e), is)];
                let takes = is & ((first == 0xffffffffu) | beats(value, best));
                best = select(best, value, takes);
                first = select(first, place(e), takes);
            }
        }
    }
    return select(0.0, 1.0, first == at);
    // end share
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i >= params.count) {
        return;
    }
    let line = i / IN.z;
    let map = line / IN.y;
    let plane = map / IN.x;
    let base = plane * (IN.x * IN.y * IN.z);
    let p = vec3<u32>(map - plane * IN.x, line - map * IN.y, i - line * IN.z) + PAD;
    let last = min(p / STRIDE, OUT - 1u);
    var sum = 0.0;
    for (var d = WINDOWS.x; d > 0u; d -= 1u) {
        for (var h = WINDOWS.y; h > 0u; h -= 1u) {
            for (var w = WINDOWS.z; w > 0u; w -= 1u) {
                // Beyond every window where there are not as many.
                let o = last - (vec3<u32>(d, h, w) - 1u);
                let gap = p - o * STRIDE;
                let k = gap / DILATION;
                let holds = all(o < OUT) & all(k < KERNEL) & all(k * DILATION == gap);
                let window = select(vec3<u32>(0u), o, vec3<bool>(holds));
                let part = share(window, base, i - base);
                let sent = dy[((plane * OUT.x + window.x) * OUT.y + window.y) * OUT.z + window.z];
                sum += select(0.0, part * sent, holds & (part != 0.0));
            }
        }
    }
    dx[i] = sum;
}
