// Marks what a single piece covers.
layout(location = 0) out vec4 out_color;

void main() {
    out_color = vec4(1.0);
}
