#!/bin/bash
# The first process of the machine of hack/vm.sh. It runs the tests, tells the
# verdict in a line that begins with "vm: ", and ends the machine.
set -o pipefail
export PATH=/usr/bin

if [[ ! -e /test/moved ]]; then
    # Containers leave a tmpfs by pivot_root, but not the initramfs itself.
    busybox mkdir /new
    mount -t tmpfs -o mode=755,size=80% root /new
    busybox cp -a /bin /etc /init /lib /lib64 /sbin /test /usr /dev /proc /sys /run /tmp /var /root /new/
    busybox touch /new/test/moved
    exec busybox switch_root /new /init
fi

mount -t proc proc /proc
busybox --install -s /usr/bin
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs run /run
chmod 1777 /tmp /var/tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
while read -r module; do modprobe "$module"; done </test/modules
echo "vm: up, Linux $(uname -r), cgroup v2 with $(</sys/fs/cgroup/cgroup.controllers)"

export STORMCELL_TEST_PROGRAMS=/test/programs STORMCELL_TEST_VM=1
chosen=.
[[ ! -e /test/chosen ]] || chosen=$(</test/chosen)
verdict=passed
[[ $(</proc/cmdline) != *vm.probe* ]] || rm -r /test/*/
shopt -s globstar
for tests in /test/**/tests; do
    [[ -e $tests ]] || continue
    cd "${tests%/tests}" || exit
    echo "vm: tests of ${PWD#/test/}"
    if ! ./tests -test.v -test.timeout 15m -test.run "$chosen" | grep -v '^=== '; then
        verdict=failed
    fi
done
echo "vm: $verdict"
echo b >/proc/sysrq-trigger
