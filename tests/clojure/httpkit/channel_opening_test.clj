(ns httpkit.channel-opening-test
  "The order of on-open and on-close: what on-open has noted down is there for on-close to undo."
  (:require [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [org.httpkit.server :as server]
            [ring.websocket.protocols :as ring])
  (:import (java.util.concurrent Executors)
           (org.httpkit.server AsyncChannel)))

(set! *warn-on-reflection* true)

(def ^:private modes
  "Functions of options of servers that run their callbacks in different ways."
  {"own threads"   (fn [] {:allow-virtual? false :thread 4})
   "default"       (fn [] {})
   "a user's pool" (fn [] {:worker-pool (Executors/newFixedThreadPool 4)})})

(def ^:private handshake
  (wire/get-request "/" "Upgrade: websocket" "Connection: Upgrade" "Sec-WebSocket-Version: 13"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))

(defn- resets
  "Once its request has arrived."
  [port begun]
  (let [conn (doto (wire/connect port) (wire/write! (wire/get-request "/")))]
    (wire/outcome begun)
    (wire/reset conn)
    conn))

(defn- says-close-at-once [port _begun]
  (let [close-1000 "\u0088\u0082\u0000\u0000\u0000\u0000\u0003\u00e8"]
    (doto (wire/connect port) (wire/write! (str handshake close-1000)))))

(defn- channel [callbacks] #(server/as-channel % callbacks))

(defn- listener [{:keys [on-open on-close]}]
  (fn [{ch :async-channel}]
    {:ring.websocket/listener
     (reify ring/Listener
       (on-open    [_ _] (on-open ch))
       (on-message [_ _ _])
       (on-pong    [_ _ _])
       (on-error   [_ _ _])
       (on-close   [_ _ _ _] (on-close ch nil)))}))

(def ^:private leavings
  ;; about, handler of callbacks, what a peer does that leaves, perhaps after on-open has begun
  [["an HTTP request, reset"         channel  resets]
   ["a WebSocket, closed by a frame" channel  says-close-at-once]
   ["Ring's listener, closed by one" listener says-close-at-once]])

(defn- closed? [ch] (not (server/open? ch)))

(deftest on-close-does-not-begin-while-on-open-runs
  (doseq [[mode options]           modes
          [about handler-of leave] leavings]
    (testing (str mode ", " about)
      (let [log (atom []) begun (promise) closed (promise) longest (atom 0)]
        (wire/with-server [{:keys [port]}
                           (handler-of {:on-open  (fn [ch]
                                                    (deliver begun true)
                                                    (is (wire/eventually #(closed? ch)))
                                                    (let [start (System/nanoTime)]
                                                      ;; Time for on-close to come too early.
                                                      (deref closed 50 nil)
                                                      (swap! log conj :opened)
                                                      (reset! longest (- (System/nanoTime) start))))
                                        :on-close (fn [_ _] (swap! log conj :closed) (deliver closed true))})
                           (options)]
          (let [conn (leave port begun)]
            (is (wire/eventually #(= 2 (count @log))))
            (wire/disconnect conn)))
        (is (or (= [:opened :closed] @log)
                ;; A busy machine made on-open long.
                (< 90000000 (long @longest)))
            (pr-str @log))))))

(deftest an-on-open-that-runs-until-on-close-is-stopped
  (doseq [[mode options]           modes
          [about handler-of leave] leavings]
    (testing (str mode ", " about)
      (let [begun (promise) closed (promise) ends (promise)]
        (wire/with-server [{:keys [port]}
                           (handler-of {:on-open  (fn [_] (deliver begun true) (deliver ends (wire/outcome closed)))
                                        :on-close (fn [_ _] (deliver closed true))})
                           (options)]
          (let [conn (leave port begun)]
            (is (true? (wire/outcome ends)))
            (wire/disconnect conn)))))))

(deftest on-open-comes-before-on-close-also-if-the-channel-was-closed-before
  (testing "by the peer"
    (doseq [[mode options] modes]
      (testing mode
        (let [log (atom []) begun (promise)]
          (wire/with-server [{:keys [port]}
                             (fn [{^AsyncChannel ch :async-channel :as req}]
                               (server/open? ch)
                               (deliver begun true)
                               (is (wire/eventually #(and (closed? ch) (.get (.closedRan ch)))))
                               (server/as-channel req {:on-open  (fn [ch] (swap! log conj [:open (server/open? ch)]))
                                                       :on-close (fn [_ status] (swap! log conj status))}))
                             (options)]
            (resets port begun)
            (is (wire/eventually #(= 2 (count @log)))))
          (is (= [[:open false] :client-close] @log))))))
  (testing "by :init"
    (let [log (atom [])]
      (wire/with-server [{:keys [port]}
                         (channel {:init     (fn [ch] (server/send! ch "early"))
                                   :on-open  (fn [ch] (swap! log conj [:open (server/open? ch)]))
                                   :on-close (fn [_ status] (swap! log conj status))})
                         {}]
        (is (= "early" (:text (wire/exchange port (wire/get-request "/")))))
        (is (wire/eventually #(= 2 (count @log)))))
      (is (= [[:open false] :server-close] @log)))))

(deftest on-close-that-on-open-sets-first-comes-after-it-all-the-same
  (let [log (atom []) begun (promise)]
    (wire/with-server [{:keys [port]}
                       (channel {:on-open (fn [ch]
                                            (deliver begun true)
                                            (is (wire/eventually #(closed? ch)))
                                            (server/on-close ch (fn [status] (swap! log conj status)))
                                            (swap! log conj :opened))})
                       {}]
      (resets port begun)
      (is (wire/eventually #(= 2 (count @log)))))
    (is (= [:opened :client-close] @log))))

(deftest a-close-within-on-open-calls-on-close-at-once-on-its-thread
  (doseq [[about open] {"HTTP"      #(wire/write! % (wire/get-request "/"))
                        "WebSocket" #(wire/write! % handshake)}
          [how close!] {"close" server/close, "a send that closes" #(server/send! % "bye" true)}]
    (testing (str about ", " how)
      (let [log (atom [])]
        (wire/with-server [{:keys [port]}
                           (channel {:on-open  (fn [ch]
                                                 (close! ch)
                                                 (swap! log conj [:opened (Thread/currentThread)]))
                                     :on-close (fn [_ status] (swap! log conj [status (Thread/currentThread)]))})
                           {}]
          (let [conn (doto (wire/connect port) (open))]
            (is (wire/eventually #(= 2 (count @log))))
            (wire/disconnect conn)))
        (is (= [:server-close :opened] (map first @log)))
        (is (apply = (map second @log)))))))

(deftest a-server-that-stops-waits-for-an-on-close-that-waits-for-on-open
  (doseq [[mode options] modes]
    (testing mode
      (let [closed (atom false) begun (promise)]
        (wire/with-server [{:keys [port server]}
                           (channel {:on-open  (fn [_]
                                                 (deliver begun true)
                                                 (wire/spin-until (fn [] @closed)))
                                     :on-close (fn [_ _] (reset! closed true))})
                           (options)]
          (let [conn (wire/upgrade port)]
            (is (true? (wire/outcome begun)))
            (wire/outcome (server/server-stop! server {:timeout 0}))
            (is (true? @closed))
            (wire/disconnect conn)))))))

(deftest channels-that-leave-at-once-are-not-kept
  (doseq [[about handler-of leave] leavings]
    (testing about
      (let [kept (atom #{}) told (atom 0)]
        (wire/with-server [{:keys [port]}
                           (handler-of {:on-open  (fn [ch] (swap! kept conj ch))
                                        :on-close (fn [ch _] (swap! kept disj ch) (swap! told inc))})
                           {}]
          (let [conns (doall (repeatedly 300 #(leave port (doto (promise) (deliver true)))))]
            (is (wire/settled 100 #(deref told)))
            (run! wire/disconnect conns)))
        (is (pos? (long @told)))
        (is (empty? @kept))))))
