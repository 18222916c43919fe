// Sum and maximum over the LANES invocations of a workgroup; every invocation calls them and gets the result.

var<workgroup> shares: array<f32, LANES>;

fn total(lane: u32, share: f32) -> f32 {
    shares[lane] = share;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            shares[lane] += shares[lane + half];
        }
        workgroupBarrier();
    }
    let result = shares[0];
    workgroupBarrier();
    return result;
}

fn largest(lane: u32, share: f32) -> f32 {
    shares[lane] = share;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            shares[lane] = max(shares[lane], shares[lane + half]);
        }
        workgroupBarrier();
    }
    let result = shares[0];
    workgroupBarrier();
    return result;
}
