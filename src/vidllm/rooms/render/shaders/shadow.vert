// Depth from a light, into one tile of the atlas (the viewport chooses it).
in vec3 in_position;
uniform mat4 clip_from_world;

void main() {
    gl_Position = clip_from_world * vec4(in_position, 1.0);
}
