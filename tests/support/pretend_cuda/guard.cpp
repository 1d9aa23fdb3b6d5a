// A device guard for CUDA, which torch's C++ asks for the current device. Builds of torch
// for the CPU have none.
#include <c10/core/impl/DeviceGuardImplInterface.h>
using namespace c10;
static thread_local DeviceIndex current = 0;
static DeviceIndex number = 1;
struct Guard final : impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  Device exchangeDevice(Device d) const override { Device o(DeviceType::CUDA, current);
    if (d.has_index()) current = d.index(); return o; }
  Device getDevice() const override { return Device(DeviceType::CUDA, current); }
  void setDevice(Device d) const override { if (d.has_index()) current = d.index(); }
  void uncheckedSetDevice(Device d) const noexcept override { if (d.has_index()) current = d.index(); }
  Stream getStream(Device d) const override { return Stream(Stream::DEFAULT, d); }
  Stream getDefaultStream(Device d) const override { return Stream(Stream::DEFAULT, d); }
  Stream exchangeStream(Stream s) const override { return s; }
  DeviceIndex deviceCount() const noexcept override { return number; }
};
extern "C" void pretend_install(int n) { number = n;
  static impl::DeviceGuardImplRegistrar registrar(DeviceType::CUDA, new Guard); }
extern "C" void pretend_set(int i) { current = i; }
extern "C" int pretend_get() { return current; }
