// Word 0 of Threefry-2x32-20 (Salmon et al., SC 2011).

fn rotate(x: u32, by: u32) -> u32 {
    return (x << by) | (x >> (32u - by));
}

// Four rounds with the rotations `by`, then the injection of a subkey.
fn rounds(state: vec2<u32>, by: vec4<u32>, subkey: vec2<u32>) -> vec2<u32> {
    var s = state;
    s.x += s.y;
    s.y = rotate(s.y, by.x) ^ s.x;
    s.x += s.y;
    s.y = rotate(s.y, by.y) ^ s.x;
    s.x += s.y;
    s.y = rotate(s.y, by.z) ^ s.x;
    s.x += s.y;
    s.y = rotate(s.y, by.w) ^ s.x;
    return s + subkey;
}

fn threefry(key: vec2<u32>, counter: vec2<u32>) -> u32 {
    let k2 = key.x ^ key.y ^ 0x1bd11bdau;
    let even = vec4<u32>(13u, 15u, 26u, 6u);
    let odd = vec4<u32>(17u, 29u, 16u, 24u);
    var s = counter + key;
    s = rounds(s, even, vec2<u32>(key.y, k2 + 1u));
    s = rounds(s, odd, vec2<u32>(k2, key.x + 2u));
    s = rounds(s, even, vec2<u32>(key.x, key.y + 3u));
    s = rounds(s, odd, vec2<u32>(key.y, k2 + 4u));
    s = rounds(s, even, vec2<u32>(k2, key.x + 5u));
    return s.x;
}
