// Window panes: the view outdoors, where the pane is what is seen.
in vec3 world_position;
in vec3 world_normal;
in vec2 texture_position;
in float depth;
flat in float part;

uniform sampler2DArray patterns;
uniform sampler2D surface_map;
uniform vec3 eye;
uniform vec3 sky_zenith;
uniform vec3 sky_horizon;
uniform vec3 ground;
uniform float skyline;         // decides on what there is outdoors
uniform vec3 bounce_up;

layout(location = 0) out vec4 out_color;

float noise(vec2 place, float level) {
    return textureLod(patterns, vec3(place, 1.0), level).r - 0.5;
}

// The view out of a window: sky, a row of trees or houses, and the ground before it.
vec3 outdoors(vec3 from, vec3 direction) {
    float below = max(-direction.z, 1e-4);
    float distance_ = 9.0 + 30.0 * fract(skyline * 7.31);          // metres to the backdrop
    float storey = fract(skyline * 3.77) < 0.35 ? 6.5 : 0.4;       // metres down to the ground
    float level_ = length(direction.xy) + 1e-4;
    vec2 around = direction.xy / level_;
    float turn = atan(direction.y, direction.x) * distance_;       // metres along the backdrop
    float height = from.z + storey + direction.z / level_ * distance_;
    vec3 sky = mix(sky_horizon, sky_zenith, smoothstep(0.0, 0.7, direction.z));
    sky *= 1.0 + 0.5 * noise(around * 0.3 + direction.z * 0.4 + skyline, 2.0);

    // Trees: a ragged outline, lit from above.
    float outline = 4.0 + 22.0 * noise(vec2(turn * 0.013 + skyline, skyline), 2.0)
        + 12.0 * noise(vec2(turn * 0.11, skyline * 3.0), 1.0);
    float leaves = noise(vec2(turn, height) * 0.06, 0.0) + noise(vec2(turn, height) * 0.35, 0.0);
    vec3 trees = ground * clamp(0.75 + 5.0 * leaves + 0.07 * (height - outline), 0.15, 1.6);

    // Houses: plain fronts with rows of windows.
    float block_ = floor(turn / 11.0 + skyline * 5.0);
    float chance = fract(sin(block_ * 12.9898 + skyline * 78.233) * 43758.5453);
    bool house = chance < 0.55 * fract(skyline * 5.13) * 2.0;
    float eaves = 5.0 + 9.0 * fract(chance * 17.0);
    vec2 cell = vec2(fract(turn / 2.4), fract(height / 2.9));
    vec2 pane = step(vec2(0.28, 0.3), cell) * step(cell, vec2(0.72, 0.78));
    vec3 paint = mix(vec3(0.55, 0.36, 0.28), vec3(0.62, 0.6, 0.55), fract(chance * 7.0));
    vec3 front = sky_horizon * paint * (0.9 + noise(vec2(turn, height) * 0.1, 1.0));
    front = mix(front, sky_zenith * 0.12, pane.x * pane.y);

    vec3 color = height < outline ? trees : sky;
    if (house && height < eaves) color = front;
    float reach = (from.z + storey) / below * level_;
    if (direction.z < 0.0 && reach < distance_) {
        vec2 spot = from.xy + around * reach;
        float grain = noise(spot * 0.09, 1.0) + 0.6 * noise(spot * 0.7, log2(max(reach, 1.0)));
        vec3 paving = vec3(dot(ground, vec3(0.33))) * 1.3;
        color = mix(ground, paving, fract(skyline * 11.7) < 0.4 ? 0.85 : 0.1) * (1.0 + 2.2 * grain);
    }
    return max(color, 0.0);
}

void main() {
    vec4 seen = texelFetch(surface_map, ivec2(gl_FragCoord.xy) * 2 + 1, 0);
    if (seen.x != part) discard;
    vec3 color = outdoors(eye, normalize(world_position - eye)) + 0.03 * bounce_up;
    out_color = vec4(min(color, vec3(12.0)), 1.0);
}
