// Motion blur: every pixel is averaged along the way that its surface takes to a neighbouring view.
uniform sampler2D color_map;
uniform sampler2D surface_map;

uniform vec4 ray_scale;
uniform mat4 neighbour_from_camera;
uniform vec4 intrinsics;       // fx, fy, cx, cy
uniform float shutter;         // share of the way to the neighbouring view

layout(location = 0) out vec4 out_color;

void main() {
    ivec2 pixel = ivec2(gl_FragCoord.xy);
    vec4 surface = texelFetch(surface_map, pixel * 2 + 1, 0);
    float depth = surface.x < 0.5 ? 100.0 : surface.y;
    vec3 ray = vec3(gl_FragCoord.xy * ray_scale.xy + ray_scale.zw, 1.0);
    vec3 seen = (neighbour_from_camera * vec4(ray * depth, 1.0)).xyz;
    vec2 motion = vec2(0.0);
    if (seen.z > 0.05) {
        motion = (seen.xy / seen.z * intrinsics.xy + intrinsics.zw - vec2(pixel)) * shutter;
        float longest = 0.03 * float(max(textureSize(color_map, 0).x, textureSize(color_map, 0).y));
        motion *= min(1.0, longest / max(length(motion), 1e-6));
    }
    if (dot(motion, motion) < 0.05) {
        out_color = texelFetch(color_map, pixel, 0);
        return;
    }
    vec2 texel = 1.0 / vec2(textureSize(color_map, 0));
    vec3 sum = vec3(0.0);
    for (int tap = 0; tap < 9; ++tap) {
        vec2 place = gl_FragCoord.xy + motion * (float(tap) / 8.0 - 0.5);
        sum += textureLod(color_map, place * texel, 0.0).rgb;
    }
    out_color = vec4(sum / 9.0, 1.0);
}
