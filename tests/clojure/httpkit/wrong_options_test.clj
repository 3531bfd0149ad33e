(ns httpkit.wrong-options-test
  "What a wrong option or a misspelled name leads to, in the words of the exception or warning."
  (:require [clojure.java.io        :as io]
            [clojure.string         :as str]
            [clojure.test           :refer [deftest is testing]]
            [httpkit.wire           :as wire]
            [org.httpkit.client     :as client]
            [org.httpkit.options    :as options]
            [org.httpkit.options.client :as client-options]
            [org.httpkit.options.server :as server-options]
            [org.httpkit.server     :as server]
            [org.httpkit.server.upgrade :as upgrade]
            [org.httpkit.sni-client :as sni-client]
            [org.httpkit.utils      :as utils])
  (:import (java.nio.channels UnresolvedAddressException)))

(set! *warn-on-reflection* true)

(defn- ok [_] {:status 200 :body "ok"})

(defn- thrown
  "[class message] of what `f` throws, or what it returns."
  [f]
  (try (f)
       (catch Throwable t [(class t) (.getMessage t)])))

(defn- start-and-stop [handler options]
  (wire/stop (wire/start handler options))
  :started)

(defn- stderr-of [f]
  (let [err  System/err
        text (java.io.ByteArrayOutputStream.)]
    (System/setErr (java.io.PrintStream. text true))
    (try (f) (finally (System/setErr err)))
    (str text)))

;; Values

(deftest a-wrong-option-of-run-server-is-named-with-its-value-and-what-is-allowed
  (let [int-max "2147483647"]
    (doseq [[options class message]
            [[{:port "8080"}            ClassCastException       ":port \"8080\": expected an integer from 0 to 65535"]
             [{:port nil}               NullPointerException     ":port nil: expected an integer from 0 to 65535"]
             [{:port 70000}             IllegalArgumentException ":port 70000: expected an integer from 0 to 65535"]
             [{:port 4294967296}        ArithmeticException      ":port 4294967296: expected an integer from 0 to 65535"]
             [{:ip :localhost}          ClassCastException       ":ip :localhost: expected a host name or an address, as a String"]
             [{:max-buffered-bytes -1}  IllegalArgumentException ":max-buffered-bytes -1: expected an integer from 0 to 9223372036854775807, or nil"]
             [{:interrupt-handlers? true} IllegalArgumentException ":interrupt-handlers? has no effect without :handler-timeout"]
             [{:access-log :stderr}     IllegalArgumentException ":access-log :stderr: expected a function of an entry, a path, :stdout, {:file path or :stdout, :format :combined, :common or :json}, or nil"]
             [{:access-log {:file "a" :format :xml}} IllegalArgumentException ":access-log :format :xml: expected :combined, :common or :json"]
             [{:access-log {:file :stdout :fmt 1}} IllegalArgumentException ":access-log :fmt: expected :file or :format"]
             [{:access-log {:fil "x.log"}} IllegalArgumentException ":access-log :fil: expected :file or :format"]
             [{:access-log {:file ""}}   IllegalArgumentException ":access-log :file \"\": expected a path or :stdout"]
             [{:access-log {:file false :format :json}} IllegalArgumentException ":access-log :file false: expected a path or :stdout"]
             [{:access-log {:format :json}} IllegalArgumentException ":access-log :file nil: expected a path or :stdout"]
             [{:ip nil}                 IllegalArgumentException ":ip nil: expected a host name or an address, as a String"]
             [{:max-body 3000000000}    ArithmeticException      (str ":max-body 3000000000: expected an integer of at most " int-max)]
             [{:request-buffer-size -1} IllegalArgumentException (str ":request-buffer-size -1: expected an integer from 0 to " int-max ", or nil")]
             [{:request-buffer-size "1"} ClassCastException (str ":request-buffer-size \"1\": expected an integer from 0 to " int-max ", or nil")]
             [{:request-buffer-size 1 :body-window 0} IllegalArgumentException (str ":body-window 0: expected an integer from 1 to " int-max ", or nil")]
             [{:request-buffer-size 1 :max-body -1} IllegalArgumentException ":max-body -1: expected an integer from 0 to 9223372036854775807, or nil"]
             [{:max-body nil}           NullPointerException     (str ":max-body nil: expected an integer of at most " int-max)]
             [{:max-ws "x"}             ClassCastException       (str ":max-ws \"x\": expected an integer of at most " int-max)]
             [{:max-headers -1}         IllegalArgumentException (str ":max-headers -1: expected an integer from 0 to " int-max ", or nil")]
             [{:max-connections -1}     IllegalArgumentException (str ":max-connections -1: expected an integer from 0 to " int-max ", or nil")]
             [{:max-connections 0.5}    IllegalArgumentException (str ":max-connections 0.5: expected an integer from 0 to " int-max ", or nil")]
             [{:handler-timeout 9/10}   IllegalArgumentException (str ":handler-timeout 9/10: expected an integer from 0 to " int-max ", or nil")]
             [{:max-headers 1.5}        IllegalArgumentException (str ":max-headers 1.5: expected an integer from 0 to " int-max ", or nil")]
             [{:max-buffered-bytes 0.5M} IllegalArgumentException ":max-buffered-bytes 0.5M: expected an integer from 0 to 9223372036854775807, or nil"]
             [{:io-threads 1.5}         IllegalArgumentException (str ":io-threads 1.5: expected an integer from 1 to " int-max ", or nil")]
             [{:ssl-port 0.5}           IllegalArgumentException ":ssl-port 0.5: expected an integer from 0 to 65535, or nil"]
             [{:max-connections-per-ip :few} ClassCastException (str ":max-connections-per-ip :few: expected an integer from 0 to " int-max ", or nil")]
             [{:max-header-bytes -1}    IllegalArgumentException (str ":max-header-bytes -1: expected an integer from 0 to " int-max ", or nil")]
             [{:max-requests-per-connection "9"} ClassCastException (str ":max-requests-per-connection \"9\": expected an integer from 0 to " int-max ", or nil")]
             [{:header-timeout -1}      IllegalArgumentException (str ":header-timeout -1: expected an integer from 0 to " int-max ", or nil")]
             [{:idle-timeout "1 min"}   ClassCastException       (str ":idle-timeout \"1 min\": expected an integer from 0 to " int-max ", or nil")]
             [{:body-timeout 3000000000} ArithmeticException     (str ":body-timeout 3000000000: expected an integer from 0 to " int-max ", or nil")]
             [{:write-timeout :never}   ClassCastException       (str ":write-timeout :never: expected an integer from 0 to " int-max ", or nil")]
             [{:handler-timeout -1}     IllegalArgumentException (str ":handler-timeout -1: expected an integer from 0 to " int-max ", or nil")]
             [{:ws-idle-timeout "no"}   ClassCastException       (str ":ws-idle-timeout \"no\": expected an integer from 0 to " int-max ", or nil")]
             [{:max-line nil}           NullPointerException     (str ":max-line nil: expected an integer of at most " int-max)]
             [{:worker-pool 5}          ClassCastException       ":worker-pool 5: expected an ExecutorService, a delay of one, or nil"]
             [{:worker-pool (delay 5)}  ClassCastException       ":worker-pool 5: expected an ExecutorService, a delay of one, or nil"]
             [{:proxy-protocol true}    IllegalArgumentException ":proxy-protocol true: expected :disable, :enable or :optional"]
             [{:proxy-protocol nil}     IllegalArgumentException ":proxy-protocol nil: expected :disable, :enable or :optional"]
             [{:on-overflow :drop}      IllegalArgumentException ":on-overflow :drop: expected :close, :block or :reject, or nil"]
             [{:server-header :x}       ClassCastException       ":server-header :x: expected a String without control characters, or nil for no header"]
             [{:server-header "a\r\nb"} IllegalArgumentException ":server-header \"a\\r\\nb\": expected a String without control characters, or nil for no header"]
             [{:error-logger "log"}     IllegalArgumentException ":error-logger \"log\": expected a function of message and throwable"]
             [{:event-names []}         IllegalArgumentException ":event-names of class clojure.lang.PersistentVector: expected a map with String keys, or EventNames, or nil"]
             [{:event-names {"serverStatus404" "x" :serverStatus413 "y"}} IllegalArgumentException ":event-names has the key :serverStatus413: expected a map with String keys, or EventNames, or nil"]
             [{:event-names {nil "x"}}  IllegalArgumentException ":event-names has the key nil: expected a map with String keys, or EventNames, or nil"]
             [{:address-finder 5}       IllegalArgumentException ":address-finder 5: expected a function without arguments, or an HttpServer$AddressFinder"]
             [{:event-names {"serverStatus404" 5}} ClassCastException ":event-names \"serverStatus404\" of class java.lang.Long: expected a String"]
             [{:address-finder (fn [] "x")} ClassCastException ":address-finder returned \"x\": expected a SocketAddress"]
             [{:channel-factory (fn [_] "x")} ClassCastException ":channel-factory returned \"x\": expected a ServerSocketChannel"]
             [{:channel-factory (fn [_] nil)} NullPointerException ":channel-factory returned nil: expected a ServerSocketChannel"]
             [{:io-threads 0}           IllegalArgumentException (str ":io-threads 0: expected an integer from 1 to " int-max ", or nil")]
             [{:listen-socket "3"}      IllegalArgumentException ":listen-socket \"3\": expected a descriptor, :systemd, :inherited, or a map of :fd or :name, or nil"]
             [{:listen-socket -1}       IllegalArgumentException ":listen-socket -1: expected a descriptor, :systemd, :inherited, or a map of :fd or :name, or nil"]
             [{:listen-socket {:fd "3"}} IllegalArgumentException ":listen-socket of class clojure.lang.PersistentArrayMap: expected a descriptor, :systemd, :inherited, or a map of :fd or :name, or nil"]
             [{:listen-socket {:fd 3 :nme "x"}} IllegalArgumentException ":listen-socket has the key :nme: expected :fd or :name"]
             [{:listen-socket {:fd 0 :name "http"}} IllegalArgumentException ":listen-socket has :fd and :name: expected one of them"]
             [{:listen-socket 0 :unix-socket "/tmp/s"} IllegalArgumentException ":listen-socket and :unix-socket: expected one of them"]
             [{:unix-socket "/tmp/s" :http? false :ssl-port 0 :tls {:cert "c" :key "k"}} IllegalArgumentException
              ":unix-socket with :http? false: plain HTTP is what it is for"]
             [{:unix-socket ""}         IllegalArgumentException ":unix-socket \"\": expected a path, as a String, File or Path, or nil"]
             [{:unix-socket "a\u0000b"} IllegalArgumentException ":unix-socket \"a\u0000b\": expected a path, as a String, File or Path, or nil"]
             [{:unix-socket (io/file "")} IllegalArgumentException":unix-socket of class java.io.File: expected a path, as a String, File or Path, or nil"]
             [{:unix-socket (io/file "a\u0000b")} IllegalArgumentException ":unix-socket of class java.io.File: expected a path, as a String, File or Path, or nil"]
             [{:access-log "a\u0000b"}  IllegalArgumentException ":access-log \"a\u0000b\": expected a function of an entry, a path, :stdout, {:file path or :stdout, :format :combined, :common or :json}, or nil"]
             [{:unix-socket 5}          ClassCastException       ":unix-socket 5: expected a path, as a String, File or Path, or nil"]
             [{:unix-socket "/tmp/s" :unix-socket-mode 660} IllegalArgumentException ":unix-socket-mode 660: expected permissions, such as 0660, or nil"]
             [{:unix-socket "/tmp/s" :unix-socket-mode -1} IllegalArgumentException ":unix-socket-mode -1: expected permissions, such as 0660, or nil"]
             [{:unix-socket "/tmp/s" :reuse-port? true} IllegalArgumentException ":reuse-port? with :listen-socket or :unix-socket: expected :port"]
             [{:backlog 0}              IllegalArgumentException (str ":backlog 0: expected an integer from 1 to " int-max ", or nil")]
             [{:max-pending-bytes 0}    IllegalArgumentException (str ":max-pending-bytes 0: expected an integer from 1 to " int-max ", or nil")]
             [{:body-buffer-size -1}    IllegalArgumentException (str ":body-buffer-size -1: expected an integer from 0 to " int-max ", or nil")]
             [{:stop-on-shutdown? true :shutdown-timeout -1} IllegalArgumentException (str ":shutdown-timeout -1: expected an integer from 0 to " int-max ", or nil")]
             [{:pool-opts [1]}          IllegalArgumentException ":pool-opts of class clojure.lang.PersistentVector: expected a map of options for new-worker, or nil"]]]
      (is (= [class message] (thrown #(start-and-stop ok options))) (pr-str options)))))

(deftest whole-numbers-of-any-class-are-allowed-and-http-kits-own-options-truncate
  (is (= :started (start-and-stop ok {:max-connections 5.0 :handler-timeout 5000M :max-buffered-bytes 1e9 :io-threads 1N
                                      :port 0.5 :max-body 1000.5 :max-ws 1000.5 :max-line 1000.5 :thread 1.5 :queue-size 5.5})))
  (let [{:keys [server]} (wire/start ok {})]
    (is (= [IllegalArgumentException ":ws-grace 0.5: expected an integer from 0 to 2147483647"]
           (thrown #(server/server-drain! server {:ws-grace 0.5}))))
    (is (true? (deref (server/server-stop! server {:timeout 1.5}) wire/patience-ms :late)))))

;; Options that mean something only beside others

(def ^:private unix-finder
  "An :address-finder for a Unix domain socket, in Java 16 and later; nil before."
  (when-let [class (try (Class/forName "java.net.UnixDomainSocketAddress") (catch ClassNotFoundException _ nil))]
    (fn [] (clojure.lang.Reflector/invokeStaticMethod ^Class class "of" (object-array ["/tmp/never-bound.sock"])))))

(deftest an-option-without-the-one-that-it-belongs-to-is-refused-and-both-are-named
  (doseq [[options message]
          [[{:shutdown-timeout 5000}        ":shutdown-timeout has no effect without :stop-on-shutdown?"]
           [{:body-window 4096}             ":body-window has no effect without :request-buffer-size"]
           [{:unix-socket-mode 0660}        ":unix-socket-mode has no effect without :unix-socket"]
           [{:unix-socket-replace? true}    ":unix-socket-replace? has no effect without :unix-socket"]
           [{:unix-socket "/tmp/s" :max-connections-per-ip 5}
            ":max-connections-per-ip has no effect with :unix-socket, whose peers have no address, unless :proxy-protocol says it"]
           [{:address-finder #(java.net.InetSocketAddress. "127.0.0.1" 0) :unix-socket-mode 0660}
            ":unix-socket-mode has no effect: :address-finder returned no Unix domain socket"]
           [{:address-finder #(java.net.InetSocketAddress. "127.0.0.1" 0) :unix-socket-replace? true}
            ":unix-socket-replace? has no effect: :address-finder returned no Unix domain socket"]
           (when unix-finder
             [{:address-finder unix-finder :reuse-port? true}
              ":reuse-port? has no effect: :address-finder returned a Unix domain socket"])
           (when unix-finder
             [{:address-finder unix-finder :max-connections-per-ip 5}
              ":max-connections-per-ip has no effect: :address-finder returned a Unix domain socket"])
           [{:keystore "no.p12"}            ":keystore has no effect without :ssl-port"]
           [{:tls {:cert "c" :key "k"}}     ":tls has no effect without :ssl-port"]
           [{:truststore "no.p12"}          ":truststore has no effect without :ssl-port"]
           [{:client-auth :need}            ":client-auth has no effect without :ssl-port"]
           [{:ssl-protocols ["TLSv1.3"]}    ":ssl-protocols has no effect without :ssl-port"]
           [{:ssl-redirect? true}           ":ssl-redirect? has no effect without :ssl-port"]
           [{:keystore-scan-interval 5}     ":keystore-scan-interval has no effect without :ssl-port"]
           [{:key-password "s3cr3t"}        ":key-password has no effect without :keystore"]
           [{:ssl-port 0 :tls {:cert "c" :key "k"} :key-password "s3cr3t"}
            ":key-password has no effect without :keystore; the one of a key in :tls belongs in its map"]
           [{:key-manager-password "s3cr3t"} ":key-manager-password has no effect without :keystore"]
           [{:keystore-type "JKS"}          ":keystore-type has no effect without :keystore"]
           [{:truststore-type "JKS"}        ":truststore-type has no effect without :truststore"]
           [{:trust-password "s3cr3t"}      ":trust-password has no effect without :truststore"]
           [{:ssl-port 0 :keystore "no.p12" :truststore "no.p12"}
            ":truststore has no effect without :client-auth"]
           [{:ssl-port 0 :tls {:cert "c" :key "k" :ca "ca"}} ":ca in :tls has no effect without :client-auth"]]
          :when options]
    (is (= [IllegalArgumentException message] (thrown #(start-and-stop ok options))) (pr-str options))))

(deftest a-configuration-may-keep-the-options-of-what-it-switches-off
  (doseq [options [{:stop-on-shutdown? false :shutdown-timeout 5000}
                   {:request-buffer-size nil :body-window 4096}
                   {:unix-socket nil :unix-socket-mode 0660 :unix-socket-replace? false}
                   {:ssl-port nil :keystore "no.p12" :key-password "x" :truststore "no.p12" :trust-password "x"
                    :client-auth :need :ssl-protocols ["TLSv1.3"] :ssl-redirect? true :keystore-scan-interval 5}
                   {:ssl? false :ssl-port 0 :tls {:cert "c" :key "k" :ca "ca"} :client-auth nil}
                   {:keystore nil :keystore-type "JKS" :key-password "x" :key-manager-password "x"
                    :truststore nil :truststore-type "JKS" :trust-password "x"}]]
    (is (= :started (start-and-stop ok options)) (pr-str options))))

(deftest nil-and-false-switch-an-option-off-without-its-partner-or-give-its-default
  (doseq [options [{:unix-socket-mode nil} {:unix-socket-mode false} {:unix-socket-replace? nil}
                   {:unix-socket-replace? false} {:shutdown-timeout nil} {:body-window nil} {:client-auth :none}
                   {:client-auth nil} {:ssl-redirect? false} {:keystore-scan-interval 0} {:keystore-scan-interval false}
                   {:backlog nil} {:max-pending-bytes nil} {:max-pending-messages nil} {:body-buffer-size nil}
                   {:on-overflow nil} {:listen-socket false} {:unix-socket false} {:ssl-port false} {:tls false}
                   {:keystore false} {:io-threads false} {:event-names false} {:worker-pool false} {:pool-opts false}
                   {:request-buffer-size false} {:compression nil} {:reuse-port? nil} {:http-versions [:http1]}]]
    (is (= :started (start-and-stop ok options)) (pr-str options))))

(deftest every-option-may-be-nil-or-false-but-for-those-of-which-the-documentation-says-so
  (doseq [option (remove #{:ip :port :max-body :max-ws :max-line :proxy-protocol :http?} (keys server-options/server))
          value  [nil false]]
    (is (= :started (thrown #(start-and-stop ok (assoc {:allow-virtual? false} option value)))) (pr-str option value)))
  (doseq [option (keys server-options/channel)
          value  [nil false]]
    (wire/with-server [{:keys [port errors]} #(server/as-channel % {option value}) {}]
      (is (= 101 (:status (wire/fetch port (wire/get-request "/" ["Upgrade" "websocket"] ["Connection" "Upgrade"]
                                                             ["Sec-WebSocket-Version" "13"]
                                                             ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))))
          (pr-str option value @errors)))))

(deftest wrong-options-of-the-worker-pool-are-named
  (let [sized  "an integer from 1 to 2147483647, or nil"
        cases  [[{:thread 0}         IllegalArgumentException (str ":thread 0: expected " sized)]
                [{:thread "4"}       ClassCastException       (str ":thread \"4\": expected " sized)]
                [{:n-threads -1}     IllegalArgumentException (str ":n-threads -1: expected " sized)]
                [{:n-max-threads 0}  IllegalArgumentException (str ":n-max-threads 0: expected " sized)]
                [{:queue-size -1}    IllegalArgumentException (str ":queue-size -1: expected " sized)]
                [{:queue-type :fast} IllegalArgumentException ":queue-type :fast: expected :array or :linked, or nil"]
                [{:prefix :web}      ClassCastException       ":prefix :web: expected a String, or nil"]
                [{:n-min-threads 5 :n-max-threads 2} IllegalArgumentException ":n-min-threads 5 is more than :n-max-threads 2"]]]
    (doseq [[options class message] cases
            :let [options (assoc options :allow-virtual? false)]]
      (is (= [class message] (thrown #(server/new-worker options))) (pr-str options))
      (is (= [class message] (thrown #(start-and-stop ok options))) (pr-str options))
      (is (= [class message] (thrown #(start-and-stop ok {:pool-opts options}))) (pr-str options))))
  (doseq [allow? [true false]
          [value class] [["x" ClassCastException] [-1 IllegalArgumentException] [3000000000 ArithmeticException]]
          :let [wrong    {:keep-alive-msecs value :allow-virtual? allow?}
                expected [class (str ":keep-alive-msecs " (pr-str value) ": expected an integer from 0 to 2147483647, or nil")]]]
    (testing "of a server's own threads, which virtual threads do not replace"
      (is (= expected (thrown #(start-and-stop ok wrong))) (pr-str wrong))
      (is (= expected (thrown #(start-and-stop ok {:pool-opts wrong}))) (pr-str wrong))))
  (is (= [NullPointerException ":queue-size nil: expected an integer from 1 to 2147483647 for an :array queue"]
         (thrown #(utils/new-worker {} {:allow-virtual? false :queue-type :array})))))

(deftest sizes-of-a-pool-that-is-not-made-are-not-looked-at
  (when (utils/have-virtual-threads?)
    (is (= :started (start-and-stop ok {:thread "4"}))))
  (is (= :started (start-and-stop ok {:thread "4" :worker-pool (java.util.concurrent.Executors/newCachedThreadPool)}))))

(deftest an-unknown-host-is-named
  (let [e (try (start-and-stop ok {:ip "no.such.host.invalid"}) (catch Throwable e e))]
    (is (= UnresolvedAddressException (class e)) "the class that http-kit throws; it takes no message")
    (is (= ":ip \"no.such.host.invalid\": the name is unknown, or the resolver cannot be reached"
           (ex-message (ex-cause e)))))
  (let [e (try (start-and-stop ok {:address-finder #(java.net.InetSocketAddress/createUnresolved "not.resolved" 0)})
               (catch Throwable e e))]
    (is (= UnresolvedAddressException (class e)))
    (is (str/includes? (ex-message (ex-cause e)) "not.resolved"))))

(deftest a-server-with-a-wrong-option-leaves-nothing-behind
  (let [calls (atom [])
        port  (with-open [s (java.net.ServerSocket. 0)] (.getLocalPort s))]
    (doseq [wrong [{:max-body "x"} {:thread 0 :allow-virtual? false} {:event-names 5} {:on-overflow :x}]]
      (is (= 2 (count (thrown #(start-and-stop ok (merge {:port port :address-finder (fn [] (swap! calls conj :called) nil)}
                                                         wrong)))))
          (pr-str wrong)))
    (is (= [] @calls) "no finder is asked for an address")
    (is (= :started (start-and-stop ok {:port port})))))

(deftest options-that-were-always-allowed-still-are
  (doseq [options [nil {} {:max-body -1} {:max-ws -1} {:max-line -1} {:max-headers nil} {:max-headers 0} {:header-timeout nil} {:idle-timeout false} {:handler-timeout nil} {:ws-idle-timeout false} {:max-connections nil} {:max-connections-per-ip false} {:max-header-bytes nil} {:max-requests-per-connection 0} {:body-timeout 0} {:legacy-timeouts? true} {:worker-pool nil} {:server-header nil} {:event-names nil} {:io-threads nil}
                   {:thread nil} {:n-threads nil :thread 3} {:error-logger nil} {:warn-logger false} {:port 0.0}
                   {:port nil :ip nil :address-finder #(java.net.InetSocketAddress. "127.0.0.1" 0)}
                   {:legacy-return-value? "yes"} {:queue-type nil} {:pool-opts nil} {:ip ""}
                   {:n-min-threads 0 :n-max-threads 1}]]
    (is (= :started (start-and-stop ok options)) (pr-str options))))

(deftest nothing-passes-a-negative-limit
  (wire/with-server [{:keys [port]} ok {:max-body -1}]
    (is (= 200 (:status (wire/fetch port "/"))))
    (is (= 413 (:status (wire/fetch port "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")))))
  (wire/with-server [{:keys [port]} ok {:max-line -1}]
    (is (= 414 (:status (wire/fetch port "/"))))))

(deftest options-that-are-no-map-are-refused
  (is (= [IllegalArgumentException "options 8080 of run-server: expected a map"]
         (thrown #(server/run-server ok 8080))))
  (let [stop (server/run-server ok (java.util.HashMap. {:port 0 :ip "127.0.0.1"}))]
    (is (= 200 (:status (wire/fetch (:local-port (meta stop)) "/"))))
    (stop)))

(deftest a-handler-that-is-no-function-is-named
  (is (= [ClassCastException "handler \"app\": expected a function of a request"]
         (thrown #(start-and-stop "app" {}))))
  (wire/with-server [{:keys [port warnings]} nil {}]
    (is (= [["the handler of run-server is nil: every request will get a 500" nil]] @warnings))
    (is (= 500 (:status (wire/fetch port "/"))))))

;; Names

(deftest an-unknown-name-is-one-warning-with-the-nearest-option-and-the-server-starts
  (wire/with-server [{:keys [port warnings]} ok {:prot 8080 :on-overflw :x :frobnicate true "port" 1 :my/option 1 :theads 4}]
    (is (= 200 (:status (wire/fetch port "/"))))
    (is (= [["\"port\" is no option of run-server; did you mean :port?" nil]
            [":frobnicate is no option of run-server" nil]
            [":my/option is no option of run-server" nil]
            [":on-overflw is no option of run-server; did you mean :on-overflow?" nil]
            [":prot is no option of run-server; did you mean :port?" nil]
            [":theads is no option of run-server; did you mean :thread?" nil]]
           (sort @warnings))))
  (wire/with-server [{:keys [warnings]} ok {:min-threads 5 :pool-opts {:treads 4}}]
    (is (= [[":min-threads is no option of run-server; did you mean :n-min-threads?" nil]
            [":treads is no option of new-worker; did you mean :thread?" nil]]
           @warnings)))
  (doseq [class [identity #(java.util.HashMap. ^java.util.Map %)]]
    (wire/with-server [{:keys [warnings]} ok {:event-names (class {"serverStatus404" "x" "serverStatus40" "y" "bogus" "z"})}]
      (is (= [["\"bogus\" is no option of :event-names" nil]
              ["\"serverStatus40\" is no option of :event-names; did you mean \"serverStatus404\"?" nil]]
             (sort @warnings))))))

(deftest each-event-has-a-name-that-is-known
  (wire/with-server [{:keys [warnings]} ok
                     {:event-names (into {} (for [^java.lang.reflect.Field field (.getFields org.httpkit.logger.EventNames)
                                                  :when (not= "DEFAULT" (.getName field))]
                                              [(.getName field) "x"]))}]
    (is (= [] @warnings)))
  (wire/with-server [{:keys [warnings]} ok {:event-names (org.httpkit.logger.EventNames. {"bogus" "x"})}]
    (is (= [] @warnings) "not those of http-kit's own class")))

(deftest argument-lists-show-every-option
  (doseq [[f table] [[#'server/run-server server-options/server] [#'server/as-channel server-options/channel]
                     [#'server/new-worker server-options/server-worker] [#'server/server-stop! server-options/stop]
                     [#'server/server-drain! server-options/drain]
                     [#'client/new-worker options/worker] [#'client/make-client client-options/client]
                     [#'client/request client-options/request]]
          :let [shown (first (filter map? (flatten (:arglists (meta f)))))]]
    (is (= (set (map name (keys table))) (set (map str (:keys shown)))) f))
  (is (= '[handler &] (subvec (first (:arglists (meta #'server/run-server))) 0 2))))

(deftest old-vars-say-since-when-they-are-old
  (is (= "v2.4.0 (2020-07-30)" (:deprecated (meta #'server/accept)) (:deprecated (meta #'server/with-channel))))
  (is (= "v2.7" (:deprecated (meta #'sni-client/default-client))))
  (is (not (contains? (:sigs server/IHttpServer) :server-join)) "server-join is a function"))

(deftest known-names-are-no-warning
  (wire/with-server [{:keys [warnings]} ok {:thread 2 :queue-size 10 :worker-name-prefix "w-" :n-min-threads 1 :n-max-threads 2
                                            :queue-type :array :prefix "p-" :allow-virtual? true :max-line 9000}]
    (is (= [] @warnings))))

(deftest values-of-unknown-options-are-not-printed
  (let [secret "s3cr3t"]
    (wire/with-server [{:keys [warnings]} ok {:passwrod secret :db {:password secret}}]
      (is (= 2 (count @warnings)))
      (is (not (str/includes? (pr-str @warnings) secret))))
    (let [[_ message] (thrown #(start-and-stop ok {:port {:password secret}}))]
      (is (= ":port of class clojure.lang.PersistentArrayMap: expected an integer from 0 to 65535" message)))))

(deftest a-warn-logger-that-throws-keeps-no-server-from-starting
  (is (= :started (start-and-stop nil {:prot 1 :warn-logger (fn [_ _] (throw (ex-info "no" {})))}))))

(deftest unknown-names-of-new-worker-are-warned-of-on-stderr
  (let [text (stderr-of #(.shutdown ^java.util.concurrent.ExecutorService (:pool (server/new-worker {:queue-sise 4}))))]
    (is (re-find #"WARN - :queue-sise is no option of new-worker; did you mean :queue-size\?\n" text))))

;; Stopping

(deftest what-is-no-server-cannot-be-stopped-and-says-so
  (let [stop (server/run-server ok {:port 0 :ip "127.0.0.1"})]
    (is (= [IllegalArgumentException
            "server-stop! of a function: expected an HttpServer; call the function that run-server returns, or stop (:server (meta it))"]
           (thrown #(server/server-stop! stop))))
    (is (= :running (server/server-status (:server (meta stop)))))
    (stop))
  (is (= [IllegalArgumentException "server-stop! of nil: expected an HttpServer, see :legacy-return-value? of run-server"]
         (thrown #(server/server-stop! nil)))))

(deftest wrong-arguments-of-the-stop-function-are-warned-of-and-it-stops
  (doseq [[args warning] [[[100]           "100 is no argument of the stop function; a time-out is given as :timeout 100"]
                          [[:timeuot 100]  ":timeuot is no option of the stop function; did you mean :timeout?"]
                          [[{:time 1}]     ":time is no option of the stop function"]
                          [[:timeout]      ":timeout is no argument of the stop function; a time-out is given as :timeout 100"]]]
    (let [warnings (atom [])
          stop     (server/run-server ok {:port 0 :ip "127.0.0.1" :warn-logger (fn [m _] (swap! warnings conj m))})]
      (is (nil? (apply stop args)) (pr-str args))
      (is (= [warning] @warnings) (pr-str args))
      (is (wire/eventually #(= :stopped (server/server-status (:server (meta stop)))))))))

(deftest right-arguments-of-the-stop-function-are-not-warned-of
  (doseq [args [[] [:timeout 10] [{:timeout 10}] [nil] [{}]]]
    (let [warnings (atom [])
          stop     (server/run-server ok {:port 0 :ip "127.0.0.1" :warn-logger (fn [m _] (swap! warnings conj m))})]
      (is (nil? (apply stop args)) (pr-str args))
      (is (= [] @warnings) (pr-str args))
      (is (wire/eventually #(= :stopped (server/server-status (:server (meta stop)))))))))

(deftest wrong-times-of-a-stop-are-named-and-the-server-goes-on
  (wire/with-server [{:keys [server port warnings]} ok {}]
    (doseq [[timeout class] [["5" ClassCastException] [nil NullPointerException] [3000000000 ArithmeticException]]]
      (is (= [class (str ":timeout " (pr-str timeout) ": expected an integer of at most 2147483647")]
             (thrown #(server/server-stop! server {:timeout timeout})))))
    (is (= 200 (:status (wire/fetch port "/"))))
    (is (true? (deref (server/server-stop! server {:timeuot 5}) wire/patience-ms :late)))
    (is (= [[":timeuot is no option of server-stop!; did you mean :timeout?" nil]] @warnings))))

;; Channels

(defn- channel-answer
  "[response errors warnings] of a handler that is (as-channel request options)."
  [options & requests]
  (wire/with-server [{:keys [port errors warnings]} #(server/as-channel % options) {:legacy-error-messages? true}]
    (let [answer (last (map #(wire/fetch port %) (or requests ["/"])))]
      [answer @errors @warnings])))

(deftest a-wrong-option-of-as-channel-is-named-in-the-log
  (doseq [[options message]
          [[{:on-open 5}                ":on-open 5: expected a function of the channel"]
           [{:on-close "x"}             ":on-close \"x\": expected a function of channel and status"]
           [{:max-pending-bytes 0}      ":max-pending-bytes 0: expected an integer from 1 to 2147483647, or nil"]
           [{:on-overflow :drop}        ":on-overflow :drop: expected :close, :block or :reject, or nil"]
           [{:subprotocols "chat"}      ":subprotocols \"chat\": expected a collection of Strings, or nil"]
           [{:headers "x"}              ":headers \"x\": expected a map of headers, or nil"]
           [{:ping-interval -1}         ":ping-interval -1: expected an integer from 0 to 2147483647, or nil"]
           [{:ping-timeout 500}         ":ping-timeout has no effect without :ping-interval"]]]
    (let [[{:keys [status body]} [[_ e]]] (channel-answer options)]
      (is (= [500 message IllegalArgumentException message] [status body (class e) (ex-message e)])))))

(deftest options-of-as-channel-that-are-no-map-are-refused
  (doseq [[options class] {[:on-open #(server/close %)] "clojure.lang.PersistentVector"
                           #{:on-open}                  "clojure.lang.PersistentHashSet"}]
    (let [[{:keys [status body]} _ warnings] (channel-answer options)]
      (is (= [500 (str "options of class " class " of as-channel: expected a map") []] [status body warnings]))))
  (doseq [options [(list :on-open #(server/send! % "x")) (java.util.HashMap. {:on-open #(server/send! % "x")})]]
    (is (= "x" (:body (first (channel-answer options)))) (str (class options)))))

(deftest an-unknown-option-of-as-channel-is-one-warning-for-all-requests
  (let [[_ _ warnings] (channel-answer {:on-opne identity :on-open #(server/send! % "x")} "/" "/" "/")]
    (is (= [[":on-opne is no option of as-channel; did you mean :on-open?" nil]] warnings))))

(deftest as-channel-of-a-request-from-elsewhere-is-nil-and-one-warning
  ;; Once in a JVM, and another namespace may have been first.
  (reset! @#'upgrade/warned #{})
  (is (re-find #"WARN - as-channel: the request has no :async-channel: it comes from another server, or a middleware has taken it out; returning nil\n"
               (stderr-of #(is (nil? (server/as-channel {:uri "/"} {:on-open identity}))))))
  (is (= "" (stderr-of #(is (nil? (server/as-channel {:uri "/"} {:on-open identity})))))))

(deftest calls-on-nil-instead-of-a-channel-say-so
  (doseq [[call f] {"send!"      #(server/send! nil "x")
                    "close"      #(server/close nil)
                    "open?"      #(server/open? nil)
                    "websocket?" #(server/websocket? nil)
                    "on-close"   #(server/on-close nil identity)
                    "on-receive" #(server/on-receive nil identity)
                    "on-ping"    #(server/on-ping nil identity)}]
    (is (= [IllegalArgumentException
            (str "No implementation of method: :" call " of protocol: #'org.httpkit.server/Channel found for class: nil")]
           (thrown f)))))
