// Faces that are seen through, blended over what was shaded behind them.
in vec3 world_position;
in vec3 world_normal;
in vec2 texture_position;
in float depth;
flat in float part;

uniform sampler2D surface_map;
uniform sampler2D parts;
uniform vec3 eye;

layout(location = 0) out vec4 out_color;

void main() {
    vec4 behind = texelFetch(surface_map, ivec2(gl_FragCoord.xy) * 2 + 1, 0);
    if (behind.x > 0.5 && depth > behind.y + 1e-3) discard;
    int row = int(part + 0.5);
    vec4 base = texelFetch(parts, ivec2(0, row), 0);
    float opacity = texelFetch(parts, ivec2(4, row), 0).z;
    vec3 emission = texelFetch(parts, ivec2(5, row), 0).rgb;
    vec3 normal = facing_normal(world_position, world_normal, eye);
    vec3 to_eye = normalize(eye - world_position);
    float grazing = pow(1.0 - max(dot(normal, to_eye), 0.0), 5.0);
    float mirror = 0.05 + 0.6 * grazing;
    vec3 light = mix(bounce_down, bounce_up, normal.z * 0.5 + 0.5);
    Shine shine = direct(world_position, normal, normal, to_eye, max(base.a, 0.08));
    vec3 color = base.rgb * (light + shine.diffuse) * opacity + emission;
    color += mirror * (mirrored(world_position, reflect(-to_eye, normal), 0.05) + shine.specular);
    float alpha = clamp(opacity + mirror, 0.0, 1.0);
    out_color = vec4(min(color / max(alpha, 0.02), vec3(12.0)), alpha);
}
