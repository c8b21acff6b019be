# Compiles the program in three ways, and lays out the files of each image below /tree.
set -eu
cd /build
gcc -static -O1 -o static program.c
gcc -O1 -o glibc program.c
musl-gcc -O1 -o musl program.c

for image in static musl musl-shell no-shell; do
    mkdir -p "/tree/$image/secret" "/tree/$image/etc/app"
    echo "a text that only the enclave reads" >"/tree/$image/secret/data.txt"
done

cp static /tree/static/program

for image in musl musl-shell; do
    mkdir -p "/tree/$image/lib" "/tree/$image/usr/bin"
    cp -L /lib/ld-musl-*.so.1 "/tree/$image/lib/"
    cp musl "/tree/$image/usr/bin/program"
done
mkdir /tree/musl-shell/bin
cp /bin/busybox /tree/musl-shell/bin/
ln -s busybox /tree/musl-shell/bin/sh

# The program's own library and loader, and a link to the program.
for file in $(ldd glibc | grep -o '/[^ ]*'); do
    mkdir -p "/tree/no-shell$(dirname "$file")"
    cp -L "$file" "/tree/no-shell$file"
done
mkdir -p /tree/no-shell/opt/program /tree/no-shell/bin
cp glibc /tree/no-shell/opt/program/program
ln -s ../opt/program/program /tree/no-shell/bin/program
