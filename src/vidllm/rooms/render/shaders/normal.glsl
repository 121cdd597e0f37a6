// A unit vector as one whole number that a float holds exactly: octahedral, 12 bits an axis.
float packed_normal(vec3 normal) {
    vec2 flat_ = normal.xy / (abs(normal.x) + abs(normal.y) + abs(normal.z));
    if (normal.z < 0.0) flat_ = (1.0 - abs(flat_.yx)) * vec2(flat_.x < 0.0 ? -1.0 : 1.0,
                                                             flat_.y < 0.0 ? -1.0 : 1.0);
    vec2 steps = floor((flat_ * 0.5 + 0.5) * 4094.0 + 0.5);
    return steps.x * 4096.0 + steps.y;
}

vec3 unpacked_normal(float code) {
    float high = floor(code / 4096.0);
    vec2 flat_ = vec2(high, code - high * 4096.0) / 4094.0 * 2.0 - 1.0;
    vec3 normal = vec3(flat_, 1.0 - abs(flat_.x) - abs(flat_.y));
    float fold = max(-normal.z, 0.0);
    normal.x += normal.x >= 0.0 ? -fold : fold;
    normal.y += normal.y >= 0.0 ? -fold : fold;
    return normalize(normal);
}
