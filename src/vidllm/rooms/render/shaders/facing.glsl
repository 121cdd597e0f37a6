// Models do not always agree on which side of a face is out: the seen side is.
vec3 facing_normal(vec3 position, vec3 normal, vec3 eye) {
    vec3 flat_normal = cross(dFdx(position), dFdy(position));
    if (dot(flat_normal, eye - position) < 0.0) flat_normal = -flat_normal;
    float length_squared = dot(normal, normal);
    if (length_squared < 1e-6) return normalize(flat_normal + vec3(0.0, 0.0, 1e-12));
    normal *= inversesqrt(length_squared);
    return dot(normal, flat_normal) < 0.0 ? -normal : normal;
}
