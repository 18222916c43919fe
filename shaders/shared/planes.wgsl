// A channel an invocation: every window is looked at once, and sends its cotangent to its first largest element.

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let plane = (group.y * groups.x + group.x) * 8u + lane;
    if (plane >= params.count) {
        return;
    }
    let size = IN.x * IN.y * IN.z;
    let base = plane * size;
    for (var i = 0u; i < size; i += 1u) {
        dx[base + i] = 0.0;
    }
    var sent = plane * (OUT.x * OUT.y * OUT.z);
    for (var od = 0u; od < OUT.x; od += 1u) {
        for (var oh = 0u; oh < OUT.y; oh += 1u) {
            for (var ow = 0u; ow < OUT.z; ow += 1u) {
                let corner = vec3<u32>(od, oh, ow) * STRIDE - PAD;
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
                if (first != 0xffffffffu) {
                    dx[base + first] += dy[sent];
                }
                sent += 1u;
            }
        }
    }
}
