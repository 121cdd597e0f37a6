// Projects vertices that are already in the building frame.
in vec3 in_position;
in vec3 in_normal;
in vec2 in_texture;
in float in_part;

uniform mat4 clip_from_world;
uniform mat4 camera_from_world;

out vec3 world_position;
out vec3 world_normal;
out vec2 texture_position;
out float depth;
flat out float part;

void main() {
    world_position = in_position;
    world_normal = in_normal;
    texture_position = in_texture;
    part = in_part;
    depth = (camera_from_world * vec4(in_position, 1.0)).z;
    gl_Position = clip_from_world * vec4(in_position, 1.0);
}
