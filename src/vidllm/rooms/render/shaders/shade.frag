// Colour at every pixel's centre: material and light.
uniform sampler2D surface_map;
uniform sampler2D texture_map;
uniform sampler2D parts;
uniform sampler2DArray images;
uniform sampler2DArray patterns;

uniform vec4 ray_scale;        // camera ray of a pixel: xy * scale + offset, z = 1
uniform mat3 world_from_camera;
uniform vec3 eye;
uniform float pixel_angle;     // metres that a pixel covers at one metre

layout(location = 0) out vec4 out_color;

struct Part {
    vec4 base, layout_, phase, place, identity, emission, finish;
};

Part part_of(int row) {
    return Part(
        texelFetch(parts, ivec2(0, row), 0), texelFetch(parts, ivec2(1, row), 0),
        texelFetch(parts, ivec2(2, row), 0), texelFetch(parts, ivec2(3, row), 0),
        texelFetch(parts, ivec2(4, row), 0), texelFetch(parts, ivec2(5, row), 0),
        texelFetch(parts, ivec2(6, row), 0));
}

void main() {
    ivec2 sample_ = ivec2(gl_FragCoord.xy) * 2 + 1;
    vec3 ray = vec3(gl_FragCoord.xy * ray_scale.xy + ray_scale.zw, 1.0);
    vec3 direction = world_from_camera * ray;
    vec4 surface = texelFetch(surface_map, sample_, 0);
    float depth = surface.y;
    int row = int(surface.x + 0.5);
    Part part = part_of(row);
    vec3 position = eye + direction * depth;
    vec3 to_eye = -normalize(direction);
    vec3 flat_normal = unpacked_normal(surface.z);
    float facing = max(dot(flat_normal, to_eye), 0.05);
    float footprint = depth * pixel_angle * pow(facing, -0.75);

    // Pattern: box projection in the object's frame, along its longest extent.
    vec2 turn = part.place.xy;
    vec3 x_axis = vec3(turn.x, turn.y, 0.0), y_axis = vec3(-turn.y, turn.x, 0.0);
    vec3 offset = position - vec3(part.place.zw, part.identity.x);
    vec3 inside = vec3(dot(offset, x_axis), dot(offset, y_axis), offset.z);
    vec3 size = abs(vec3(dot(flat_normal, x_axis), dot(flat_normal, y_axis), flat_normal.z));
    vec2 along;
    vec3 axis_u, axis_v;
    bool swap = false;
    float grain = part.layout_.w;
    if (size.x >= size.y && size.x >= size.z) {
        along = inside.yz; axis_u = y_axis; axis_v = vec3(0.0, 0.0, 1.0); swap = grain > 1.5;
    } else if (size.y >= size.z) {
        along = inside.xz; axis_u = x_axis; axis_v = vec3(0.0, 0.0, 1.0); swap = grain > 1.5;
    } else {
        along = inside.xy; axis_u = x_axis; axis_v = y_axis; swap = grain > 0.5 && grain < 1.5;
    }
    if (swap) {
        along = along.yx;
        vec3 kept = axis_u; axis_u = axis_v; axis_v = kept;
    }
    vec2 place = along * part.layout_.yz + part.phase.xy;
    float level = log2(max(footprint * max(part.layout_.y, part.layout_.z) * 256.0, 1e-3));
    vec4 pattern = textureLod(patterns, vec3(place, part.layout_.x), level - 0.25);
    float cloud = textureLod(patterns, vec3(along * 0.21 + part.phase.yx, 1.0), 1.0).r - 0.5;
    float contrast = part.finish.x;
    vec3 albedo = part.base.rgb;
    if (part.phase.z >= 0.0) {
        float detail = log2(max(footprint / part.phase.w * 256.0, 1e-3));
        vec2 at = texelFetch(texture_map, sample_, 0).xy;
        albedo *= textureLod(images, vec3(at, part.phase.z), detail - 0.5).rgb;
    }
    albedo *= max(1.0 + contrast * (2.0 * pattern.r - 1.0 + 0.6 * cloud), 0.05);
    albedo *= mix(1.0, part.finish.z, pattern.g * min(contrast, 1.0));
    albedo = min(albedo, vec3(0.92));
    vec2 slope = (pattern.ba * 2.0 - 1.0) * part.finish.y * 1.2;
    vec3 normal = normalize(flat_normal - slope.x * axis_u - slope.y * axis_v);

    float roughness = part.base.a;
    float metal = part.emission.w;
    float open = openness(position, flat_normal);
    Shine shine = direct(position, flat_normal, normal, to_eye, roughness);
    vec3 bounce = mix(bounce_down, bounce_up, normal.z * 0.5 + 0.5) * open;
    vec3 back = reflect(-to_eye, normal);
    float grazing = pow(1.0 - max(dot(normal, to_eye), 0.0), 5.0) * (1.0 - roughness);
    vec3 reflectance = mix(vec3(part.finish.w), albedo, metal);
    vec3 mirror = reflectance + (1.0 - reflectance) * grazing * 0.7;
    vec3 color = albedo * (1.0 - 0.85 * metal) * (bounce + shine.diffuse * mix(1.0, open, 0.35));
    color += reflectance * shine.specular;
    color += mirror * mirrored(position, back, roughness) * mix(open, 1.0, 0.3)
        * mix(1.0 - 0.85 * roughness, 1.0, metal);
    color += part.emission.rgb;
    if (row == 0) color = bounce_up;
    out_color = vec4(min(color, vec3(12.0)), 1.0);
}
