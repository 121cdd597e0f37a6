// From samples to pixels: the one on the centre for depth, ids and normals; for colour, a tent over
// the nine samples around it. Light was worked out at centres only: a sample takes the colour of
// that neighbouring centre whose surface it shares, so edges are smooth and cost little.
// Sample (2i + 1, 2j + 1) of the (2W + 1) x (2H + 1) grid lies on the centre of pixel (i, j).
uniform sampler2D color_map;
uniform sampler2D surface_map;
uniform sampler2D parts;
uniform int candidates;    // always 4: known to the compiler, it would unroll the search

layout(location = 0) out vec4 out_color;
layout(location = 1) out float out_depth;
layout(location = 2) out vec4 out_normal_id;

float unlike(vec4 surface, vec4 other) {
    float bend = surface.z == other.z
        ? 0.0 : 1.0 - dot(unpacked_normal(surface.z), unpacked_normal(other.z));
    return (surface.x == other.x ? 0.0 : 4.0)
        + min(8.0 * abs(surface.y - other.y) / max(surface.y, 0.01), 2.0) + bend;
}

void main() {
    ivec2 pixel = ivec2(gl_FragCoord.xy);
    ivec2 last = textureSize(color_map, 0) - 1;
    ivec2 centre = pixel * 2 + 1;
    vec4 surface = texelFetch(surface_map, centre, 0);
    int row = int(surface.x + 0.5);
    float identity = row == 0 ? 0.0 : texelFetch(parts, ivec2(4, row), 0).y;
    out_depth = row == 0 ? 0.0 : surface.y;
    out_normal_id = vec4(row == 0 ? vec3(0.0) : unpacked_normal(surface.z), identity);

    vec3 own = texelFetch(color_map, pixel, 0).rgb;
    vec3 sum = 4.0 * own;
    for (int index = 0; index < 9; ++index) {
        if (index == 4) continue;
        ivec2 offset = ivec2(index % 3, index / 3) - 1;
        vec4 there = texelFetch(surface_map, centre + offset, 0);
        vec3 color = own;
        float best = unlike(there, surface);
        // Software rasterisers run both sides of a branch, but leave loops early.
        for (int k = 1; k < candidates && best > 0.1; ++k) {
            ivec2 other = clamp(pixel + offset * ivec2(k % 2, k / 2), ivec2(0), last);
            float difference = unlike(there, texelFetch(surface_map, other * 2 + 1, 0));
            vec3 its_color = texelFetch(color_map, other, 0).rgb;
            color = difference < best ? its_color : color;
            best = min(best, difference);
        }
        sum += color * ((offset.x == 0 ? 2.0 : 1.0) * (offset.y == 0 ? 2.0 : 1.0));
    }
    out_color = vec4(sum / 16.0, 1.0);
}
