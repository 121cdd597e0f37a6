// Light that reaches a point: sources with shadows, sunbeams, bounce light.
const float PI = 3.14159265;

uniform int point_count;             // points come first, then windows
uniform int source_count;
uniform vec4 source_position[8];     // xyz; area of the window
uniform vec4 source_direction[8];    // xyz; first shadow view or -1
uniform vec3 source_color[8];
uniform vec3 source_half_width[8];
uniform vec3 source_half_height[8];

uniform int beam_count;
uniform mat4 beam_from_world[4];
uniform vec2 beam_view[4];           // shadow view; length
uniform vec3 sun_direction;
uniform vec3 sun_color;

uniform vec3 bounce_up;
uniform vec3 bounce_down;

uniform mat4 view_from_world[24];    // clip space of each shadow view
uniform sampler2DShadow shadow_atlas;
uniform vec2 atlas_tiles;            // columns, rows
uniform float tile_pixels;
uniform sampler3D distance_field;
uniform vec3 field_origin;
uniform vec3 field_inverse_size;

// Share of light in [0, 1] that a shadow view lets through; radius in tile pixels.
float lit(int view, vec4 position, float radius, float bias, int taps) {
    vec4 clip = view_from_world[view] * position;
    if (clip.w <= 0.0) return 1.0;
    vec3 ndc = clip.xyz / clip.w;
    if (max(abs(ndc.x), abs(ndc.y)) > 1.0) return 1.0;
    vec2 tile = vec2(mod(float(view), atlas_tiles.x), floor(float(view) / atlas_tiles.x));
    vec2 margin = vec2(1.5 / tile_pixels);
    vec2 inside = ndc.xy * 0.5 + 0.5;
    float depth = ndc.z * 0.5 + 0.5 - bias;
    float sum = 0.0;
    for (int tap = 0; tap < taps; ++tap) {
        float turn = 2.3999632 * float(tap);  // a sunflower's spiral spreads the taps evenly
        float reach = radius * sqrt((float(tap) + 0.5) / float(taps));
        vec2 place = clamp(inside + vec2(cos(turn), sin(turn)) * reach / tile_pixels,
                           margin, 1.0 - margin);
        sum += texture(shadow_atlas, vec3((tile + place) / atlas_tiles, depth));
    }
    return sum / float(taps);
}

int face_of(vec3 direction) {
    vec3 a = abs(direction);
    if (a.x >= a.y && a.x >= a.z) return direction.x > 0.0 ? 0 : 1;
    if (a.y >= a.z) return direction.y > 0.0 ? 2 : 3;
    return direction.z > 0.0 ? 4 : 5;
}

float free_space(vec3 position) {
    return textureLod(distance_field, (position - field_origin) * field_inverse_size, 0.0).r;
}

// Openness in [0, 1] ahead of a surface: how far the distance field lets four cones spread.
float openness(vec3 position, vec3 normal) {
    vec3 side = normalize(abs(normal.z) < 0.7 ? vec3(normal.y, -normal.x, 0.0)
                                              : vec3(0.0, normal.z, -normal.y));
    vec3 other = cross(normal, side);
    float hindered = 0.0;
    for (int cone = 0; cone < 4; ++cone) {
        vec3 sideways = cone < 2 ? side : other;
        vec3 ahead = 0.66 * normal + (cone % 2 == 0 ? 0.75 : -0.75) * sideways;
        float near = clamp(free_space(position + ahead * 0.16) / 0.10, 0.0, 1.0);
        float far = clamp(free_space(position + ahead * 0.55) / 0.34, 0.0, 1.0);
        hindered += 1.0 - min(near, 0.35 + 0.65 * far) * (0.25 + 0.75 * far);
    }
    return 1.0 - 0.22 * hindered;
}

struct Shine {
    vec3 diffuse;    // irradiance over pi, so that albedo times it is radiance
    vec3 specular;   // radiance of highlights, for a reflectance of one
};

float highlight(vec3 normal, vec3 half_way, float roughness) {
    float alpha = roughness * roughness;
    float a2 = max(alpha * alpha, 1e-4);
    float nh = clamp(dot(normal, half_way), 0.0, 1.0);
    float d = nh * nh * (a2 - 1.0) + 1.0;
    return min(a2 / (4.0 * d * d), 40.0);
}

// All direct light; flat_normal places the shadow's start, normal carries the bumps.
Shine direct(vec3 position, vec3 flat_normal, vec3 normal, vec3 to_eye, float roughness) {
    Shine shine = Shine(vec3(0.0), vec3(0.0));
    for (int i = 0; i < point_count; ++i) {
        vec3 to_light = source_position[i].xyz - position;
        float squared = dot(to_light, to_light);
        vec3 light = to_light * inversesqrt(squared);
        float facing = max(dot(normal, light), 0.0);
        vec3 start = position + flat_normal * (0.012 + 0.006 * sqrt(squared));
        int view = int(source_direction[i].w);
        float open = 1.0;
        if (view >= 0) {
            view += face_of(start - source_position[i].xyz);
            open = lit(view, vec4(start, 1.0), 2.5, 2e-4, 5);
        }
        vec3 arriving = source_color[i] * (facing * open / max(squared, 0.04));
        shine.diffuse += arriving;
        shine.specular += arriving * highlight(normal, normalize(light + to_eye), roughness);
    }
    for (int i = point_count; i < source_count; ++i) {
        vec3 to_light = source_position[i].xyz - position;
        float squared = dot(to_light, to_light);
        vec3 light = to_light * inversesqrt(squared);
        float area = source_position[i].w;
        float leaving = max(dot(-light, source_direction[i].xyz) + 0.08, 0.0);
        float facing = max((dot(normal, light) + 0.2) / 1.2, 0.0);
        vec3 start = position + flat_normal * (0.012 + 0.006 * sqrt(squared));
        int view = int(source_direction[i].w);
        float open = view < 0 ? 1.0 : lit(view, vec4(start, 1.0), 8.0, 2e-4, 8);
        vec3 arriving = source_color[i] * (open * 2.0 * area * leaving / (PI * squared + area));
        shine.diffuse += arriving * facing;
        shine.specular += arriving * max(dot(normal, light), 0.0)
            * highlight(normal, normalize(light + to_eye), max(roughness, 0.4));
    }
    for (int i = 0; i < beam_count; ++i) {
        float facing = dot(normal, -sun_direction);
        vec4 start = vec4(position + flat_normal * 0.015, 1.0);
        vec3 place = (beam_from_world[i] * start).xyz;
        float soft = 0.01 + 0.004 * max(place.z, 0.0);
        vec2 edge = smoothstep(vec2(1.0), vec2(1.0 - 2.0 * soft), abs(place.xy));
        float inside = edge.x * edge.y * step(0.0, place.z);
        vec3 arriving = sun_color * inside * max(facing, 0.0)
            * lit(int(beam_view[i].x), start, 1.5, 0.02 / beam_view[i].y, 4);
        shine.diffuse += arriving;
        vec3 half_way = normalize(to_eye - sun_direction);
        shine.specular += arriving * highlight(normal, half_way, roughness);
    }
    return shine;
}

// What a surface mirrors: the room's mean light, and the windows.
vec3 mirrored(vec3 position, vec3 direction, float roughness) {
    vec3 color = 0.6 * mix(bounce_down, bounce_up, direction.z * 0.5 + 0.5);
    for (int i = point_count; i < source_count; ++i) {
        vec3 ahead = source_direction[i].xyz;
        float along = dot(direction, ahead);
        float t = dot(source_position[i].xyz - position, ahead) / along;
        float ahead_of = along < -0.02 && t > 0.0 ? 1.0 : 0.0;
        vec3 place = position + t * direction - source_position[i].xyz;
        vec3 w = source_half_width[i], h = source_half_height[i];
        vec2 q = abs(vec2(dot(place, w) / dot(w, w), dot(place, h) / dot(h, h)));
        float blur = 0.05 + 1.6 * roughness * t * 0.5;
        vec2 cover = 1.0 - smoothstep(vec2(1.0 - blur), vec2(1.0 + blur), q);
        color += ahead_of * cover.x * cover.y * source_color[i] / (1.0 + blur * blur);
    }
    return color;
}
