// What is where: depth, normal towards the viewer, texture position and part of each sample.
in vec3 world_position;
in vec3 world_normal;
in vec2 texture_position;
in float depth;
flat in float part;

uniform vec3 eye;

layout(location = 0) out vec4 out_surface;   // part, depth, packed normal
layout(location = 1) out vec2 out_texture;

void main() {
    vec3 normal = facing_normal(world_position, world_normal, eye);
    out_surface = vec4(part, depth, packed_normal(normal), 0.0);
    out_texture = texture_position;
}
